"""Files: replaced at once, continued after a crash, locked, compared, named by a user."""
