"""All executors of a run behind one port: the half in the driver and the half on a node."""
