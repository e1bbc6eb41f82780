"""The supervised warm start: its examples, its folder, its place in the data."""
