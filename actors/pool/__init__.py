"""How the pool of rollout actors keeps its slots filled, and which slot gets which share."""
