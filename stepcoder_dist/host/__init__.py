"""What a command asks of its machine: consoles, signals, temporary folders, models, files."""
