"""What a network computes most of its time with: matrix products, and log-probs of tokens."""
