"""How the guest reads a program's source: which lines share a fate, and what it could reach."""
