"""How a step is filled with groups that teach something."""
