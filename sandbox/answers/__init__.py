"""Whether an answer is the expected one: compared here, outside of every container."""
