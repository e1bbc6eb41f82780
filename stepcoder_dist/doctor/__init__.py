"""`stepcoder doctor` and `--dry-run`: what works here, and what a run needs."""
