"""DeepSpeed as this learner uses it: engines, their config, their states on host and disk."""
