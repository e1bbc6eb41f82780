"""How many processes a node or a pod has room for."""

from __future__ import annotations


def fitting(node: dict[str, float], process: dict[str, float]) -> int:
    return min(int(node.get(name, 0) / amount) for name, amount in process.items())
