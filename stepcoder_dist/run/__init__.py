"""One run on disk: its file, its folder, its checkpoints, and how it is resumed."""
