"""The two loops, roll out and train, with what they share."""
