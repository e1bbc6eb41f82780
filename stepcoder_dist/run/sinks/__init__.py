"""The sinks that a step's figures go to: files, TensorBoard, and trackers of experiments."""
