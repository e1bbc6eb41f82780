"""What the loops do about samples and steps that cannot be used."""
