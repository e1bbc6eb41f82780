"""What some rows hold that is no plain field: prompts that are code, node lists, pickled texts."""
