"""The objects that imported names refer to, found by look-up before the program runs.

A number, a text or a function in C keeps nothing. A dictionary, a list or a module keeps what is
put into it, whatever name it has by then. A class or a function in Python keeps the attributes that
are set on it.
"""

from __future__ import annotations

import ast
import contextlib
import sys
from typing import Any

CONTAINERS = (dict, list, set, bytearray)
_NO_ATTRIBUTES = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE
_FRESH = "sys"
"""Its contents are made for each test, and do not exist yet."""


class _Unknown:
    """An object that is unknown: treated as a class of the program's own."""


def bound(node: ast.Import | ast.ImportFrom) -> dict[str, Any]:
    """The names that an import of a harmless module binds, with their objects."""
    if isinstance(node, ast.Import):
        return {
            (a.asname or a.name).partition(".")[0]: _module(a.name if a.asname else _top(a.name))
            for a in node.names
        }
    module = _module(str(node.module))
    names: dict[str, Any] = {}
    for alias in node.names:
        if alias.name == "*":  # as the statement itself does: every public name
            found = getattr(module, "__all__", None) or [n for n in dir(module) if n[0] != "_"]
            names.update((name, object_of(module, [name])) for name in found)
        else:
            names[alias.asname or alias.name] = object_of(module, [alias.name])
    return names


def object_of(value: Any, attributes: list[str]) -> Any:
    """The object that a chain of attributes leads to."""
    for name in attributes:
        value = None if value is None else getattr(value, name, _Unknown)
    return value


def chain(node: ast.AST) -> tuple[str, list[str]]:
    """Split `a.b.c` into `("a", ["b", "c"])`; the name is empty where it begins otherwise."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return (node.id if isinstance(node, ast.Name) else ""), attributes[::-1]


def takes_attributes(value: Any) -> bool:
    """Whether an attribute can be set on an object."""
    if isinstance(value, type):
        return not value.__flags__ & _NO_ATTRIBUTES
    return hasattr(value, "__dict__")


def _module(name: str) -> Any:
    if _top(name) == _FRESH:
        return None
    with contextlib.suppress(ImportError):  # then the program fails there as well
        __import__(name)
    return sys.modules.get(name, _Unknown)


def _top(name: str) -> str:
    return name.partition(".")[0]
