"""What every confined place shares: its bounds, and the filter on system calls."""
