"""Low-rank adapters: what `learner.lora` trains instead of the weights, and how they are merged."""
