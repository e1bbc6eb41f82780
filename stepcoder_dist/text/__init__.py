"""A problem as text and as tokens, and a completion as a program."""
