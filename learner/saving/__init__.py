"""What the learner writes: checkpoints, and the policy as a Hugging Face folder."""
