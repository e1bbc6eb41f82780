"""Names and attributes through which a program reaches nothing that outlives a test.

The look at a source (`source_traits`) follows what is imported. What else a program may reach are
attributes of any object, `type` of any object, and the built-in names. Here is what of these keeps
no state; the rest may. An attribute is allowed that the program defines itself, or that a type in C
has as a method or a read-only member, or that a class which it imports has as a method.
"""

from __future__ import annotations

import array
import ast
import builtins
import collections
import functools
import io
import os
import re
import struct
import sys
import types
from collections.abc import Set as AbstractSet
from types import ModuleType
from typing import Any


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_IMMUTABLE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE
_IN_C = (
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.ClassMethodDescriptorType,
)
_METHODS = (types.FunctionType, types.MethodDescriptorType, classmethod, property)
_OTHER_TYPES = (
    types.GeneratorType,
    types.CoroutineType,
    re.Pattern,
    re.Match,
    array.array,
    struct.Struct,
    collections.deque,
    collections.defaultdict,
    collections.OrderedDict,
    functools.partial,
    type(functools.lru_cache(lambda: None)),
    type(sys.float_info),
    type(sys.int_info),
    type(sys.version_info),
    os.stat_result,
)
_ALSO = words(
    "__doc__ __init__ __name__ __new__ __qualname__ _asdict _fields _make _replace digest "
    "hexdigest name value"
)
_NEVER = re.compile(
    r"__(?:reduce\w*|getstate|setstate|dict|class\w*|self|func|objclass|text_signature|traceback|"
    r"cause|context|code|globals|closure|builtins|annotations|weakref|wrapped)__|"
    r".*_(?:frame|code|await|yieldfrom)$"
)
_SHOWING = words("hash id isinstance issubclass len print repr str")
"""Built-in functions that hand on nothing of their arguments."""
_BY_NAME = words("attrgetter getattr hasattr methodcaller")


def _attributes(kind: type, found: tuple[type, ...]) -> set[str]:
    """Return the attributes of a class whose value in the class is one of these."""
    return {
        name
        for base in kind.__mro__
        for name, value in vars(base).items()
        if isinstance(value, found) and not _NEVER.match(name)
    }


def _known() -> frozenset[str]:
    kinds = {v for v in (*vars(builtins).values(), *vars(io).values()) if isinstance(v, type)}
    in_c = {kind for kind in kinds - {type} if kind.__flags__ & _IMMUTABLE} | set(_OTHER_TYPES)
    return _ALSO.union(*(_attributes(kind, _IN_C) for kind in in_c))


_KNOWN = _known()
_KEEPING_BUILTINS = frozenset(
    name
    for name, value in vars(builtins).items()
    if hasattr(value, "__dict__") and not isinstance(value, type)
)
"""Built-in names of objects that take attributes: `quit`, `license` and the like."""
_WATCHED = _KEEPING_BUILTINS | {"type"}


def reaches_lasting(nodes: list[ast.AST], imported: dict[str, Any]) -> bool:
    """Return whether something may be reached that keeps what is done to it."""
    named = [n for n in nodes if isinstance(n, ast.Name) and n.id in _WATCHED]
    if named:
        parents = {id(c): node for node in nodes for c in ast.iter_child_nodes(node)}
        if any(_hands_on(node, parents) for node in named):
            return True
    read = [(node, name) for node in nodes for name in _names(node) if name not in _KNOWN]
    if not read:
        return False
    own = _own(nodes) | _of_imported(imported)
    bound = {n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    looked_at = imported.keys() - bound
    return any(name not in own and not _of_an_import(node, looked_at) for node, name in read)


def _names(node: ast.AST) -> tuple[str, ...]:
    """Return the attributes that are read at a node of the tree."""
    match node:
        case ast.Attribute(attr=name, ctx=ast.Load()):
            return (name,)
        case ast.MatchClass(kwd_attrs=names):
            return tuple(names)
        case ast.Call(func=ast.Name(id=function) | ast.Attribute(attr=function), args=arguments):
            if function in _BY_NAME:
                texts = [a.value for a in arguments if isinstance(a, ast.Constant)]
                return tuple(n for t in texts if isinstance(t, str) for n in t.split("."))
    return ()


def _hands_on(node: ast.Name, parents: dict[int, ast.AST]) -> bool:
    """Return whether a watched name is used other than by a call, or what `type` gives goes
    anywhere but into a comparison, a text or a call of it."""
    parent = parents.get(id(node))
    called = isinstance(parent, ast.Call) and parent.func is node
    if node.id != "type":
        return not called
    match parent:
        case ast.Call(args=[_]) if called:
            return _is_kept(parent, parents.get(id(parent)))
        case ast.Call():
            return not called and not _shows(parent)  # with more arguments it makes an own class
        case ast.ClassDef() | ast.arg():
            return False
        case _:
            return True


def _is_kept(made: ast.Call, outer: ast.AST | None) -> bool:
    """Return whether the type of an object goes somewhere from where it could be reached again."""
    match outer:
        case ast.Compare() | ast.FormattedValue() | ast.Expr():
            return False
        case ast.Attribute(attr="__name__" | "__qualname__"):
            return False
        case ast.Call():
            return outer.func is not made and not _shows(outer)
        case _:
            return True


def _shows(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id in _SHOWING


def _own(nodes: list[ast.AST]) -> frozenset[str]:
    """Return the attributes that a program sets, or defines in class bodies or named tuples."""
    own: set[str] = set()
    for node in nodes:
        match node:
            case ast.Attribute(attr=name, ctx=ast.Store()):
                own.add(name)
            case ast.ClassDef(body=body):
                for part in body:
                    own.update(_bound_by(part))
            case ast.Call(
                func=ast.Name(
                    id="namedtuple" | "NamedTuple" | "Enum" | "IntEnum" | "make_dataclass"
                )
                | ast.Attribute(attr="namedtuple" | "NamedTuple" | "Enum" | "IntEnum")
            ):
                texts = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
                own.update(w for t in texts if isinstance(t, str) for w in re.findall(r"\w+", t))
    return frozenset(own)


def _bound_by(statement: ast.AST) -> set[str]:
    """Return the names that a statement of a class body binds."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    return {
        node.id
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
    } | (
        {
            c.value
            for c in ast.walk(statement)
            if isinstance(c, ast.Constant) and type(c.value) is str
        }
        if any(isinstance(n, ast.Name) and n.id == "__slots__" for n in ast.walk(statement))
        else set()
    )


def _of_imported(imported: dict[str, Any]) -> frozenset[str]:
    """Return the methods of the classes that are imported, and of those of a module that is."""
    kinds: set[type] = set()
    for value in imported.values():
        if isinstance(value, type):
            kinds.add(value)
        elif isinstance(value, ModuleType) and value.__name__ != "typing":
            kinds.update(v for v in vars(value).values() if isinstance(v, type))
    names: set[str] = set()
    for kind in kinds:
        found = _IN_C if kind.__flags__ & _IMMUTABLE else _METHODS
        names |= {name for name in _attributes(kind, found) if not name.startswith("__")}
    return frozenset(names)


def _of_an_import(node: ast.AST, imported: AbstractSet[str]) -> bool:
    """Return whether an attribute is one of an imported object, which is looked at elsewhere."""
    if not isinstance(node, ast.Attribute):
        return False
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in imported
