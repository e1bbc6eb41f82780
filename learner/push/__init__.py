"""The learner's side of a weight push."""
