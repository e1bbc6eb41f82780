"""The supervised warm start, on the learner's engines."""
