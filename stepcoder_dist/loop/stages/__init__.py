"""How long the stages of a run work and wait for each other, and what follows from it."""
