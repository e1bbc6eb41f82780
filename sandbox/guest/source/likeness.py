"""How alike a program and a reference are: their syntax trees and their data flow.

This is CodeBLEU's pair of matches (Ren et al. 2020, arXiv 2009.10297, sections 3.2 and 3.3), from
Python's own tree instead of tree-sitter's. It is made before the program's first line runs, so the
program cannot forge it. Nothing here is recursive: hostile sources nest deeply.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Sequence

Flow = tuple[int, tuple[int, ...]]
"""A variable and those that it comes from, all by number."""

_ASSIGNMENTS = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.NamedExpr)
_LOOPS = (ast.For, ast.AsyncFor, ast.comprehension)


def likeness(tree: ast.Module, reference: str) -> list[float]:
    """Return two shares of the reference that the program has too, from 0 to 1.

    * Of its subtrees: nodes with children, compared by the kinds of all nodes below; names and
      constants do not count.
    * Of its assignments and loops: which variable comes from which others, with variables numbered
      in the order in which they occur. 0 where the reference has none.

    Raises `SyntaxError`, `ValueError` or `RecursionError` for a reference that does not parse.
    """
    kinds: dict[tuple[object, ...], int] = {}
    other = ast.parse(reference)
    own, wanted = set(_subtrees(tree, kinds)), _subtrees(other, kinds)
    same = sum(each in own for each in wanted)
    flows, wanted_flows = Counter(_flows(tree)), Counter(_flows(other))
    flowing = sum((flows & wanted_flows).values())
    return [same / max(len(wanted), 1), flowing / max(wanted_flows.total(), 1)]


def _subtrees(tree: ast.Module, kinds: dict[tuple[object, ...], int]) -> list[int]:
    """Return a number for each node with children: equal subtrees have equal numbers."""
    nodes: list[ast.AST] = [tree]
    below: list[tuple[int, int]] = []
    for node in nodes:  # grows: breadth first, so that children come after their parent
        children = [c for c in ast.iter_child_nodes(node) if not isinstance(c, ast.expr_context)]
        below.append((len(nodes), len(nodes) + len(children)))
        nodes += children
    numbers = [0] * len(nodes)
    found = []
    for place in range(len(nodes) - 1, -1, -1):
        first, end = below[place]
        key = (type(nodes[place]).__name__, *numbers[first:end])
        numbers[place] = kinds.setdefault(key, len(kinds))
        if end > first:
            found.append(numbers[place])
    return found


def _flows(tree: ast.Module) -> Iterator[Flow]:
    variables: dict[str, int] = {}
    for targets, sources in _assignments(tree):
        come_from = tuple(sorted({variables.setdefault(name, len(variables)) for name in sources}))
        for name in targets:
            yield variables.setdefault(name, len(variables)), come_from


def _assignments(tree: ast.Module) -> Iterator[tuple[list[str], list[str]]]:
    """Yield names that are bound and the names that they come from, in the order of the source."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, _ASSIGNMENTS):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            also = _names(node.target) if isinstance(node, ast.AugAssign) else []
            value = [] if node.value is None else _names(node.value)
            found.append((node.lineno, node.col_offset, _all_names(targets), also + value))
        elif isinstance(node, _LOOPS):
            at = node.target
            found.append((at.lineno, at.col_offset, _names(at), _names(node.iter)))
    for _, _, bound, sources in sorted(found):
        yield bound, sources


def _names(node: ast.AST) -> list[str]:
    return [each.id for each in ast.walk(node) if isinstance(each, ast.Name)]


def _all_names(nodes: Sequence[ast.expr]) -> list[str]:
    return [name for node in nodes for name in _names(node)]
