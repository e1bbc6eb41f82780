"""The driver's side of Ray: the session, where processes go, what the nodes say, metrics."""
