"""What happened when in a run, and the ports that note it."""
