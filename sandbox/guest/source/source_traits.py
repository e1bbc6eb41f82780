"""Whether a source leaves state behind that outlives one test in the interpreter.

A program without such state may run all its tests in one child, with fresh globals for each. Any
other gets a process a test. Only the source is looked at, and in doubt it counts as leaving state.
This does not decide whether an answer is right.
"""

from __future__ import annotations

import ast
import contextlib
import re
import sys
from types import ModuleType
from typing import Any

from sandbox.guest.source import reached_names
from sandbox.guest.source.reached_names import words

_HARMLESS_MODULES = words(
    """
    __future__ abc array base64 binascii bisect cmath collections contextlib copy dataclasses
    datetime enum fractions functools hashlib heapq io itertools json math numbers operator pprint
    queue re statistics string struct textwrap time typing unicodedata zlib
    """
)
_HARMLESS_SYS = words(
    """
    argv exit float_info getrecursionlimit getsizeof int_info intern maxsize
    set_int_max_str_digits setrecursionlimit stderr stdin stdout version version_info
    """
)
_HARMLESS_OS = words("fstat getenv linesep path read sep write")
_LASTING = re.compile(
    r"__\w*(?:builtins|import|dict|globals|subclasses|class|base|mro|getattribute|del|loader|"
    r"setattr|setitem|reduce|setstate|getstate)\w*__|"
    r"\b(?:setattr|delattr|setitem|delitem|exec|globals|locals|vars|breakpoint|register|mro|FileIO|"
    r"open_code|update_wrapper)\b"
)
_CHANGING_METHODS = words(
    "add append appendleft clear discard extend insert pop popitem remove reverse setdefault sort "
    "update"
)
_SETTERS = words("dataclass final no_type_check runtime_checkable total_ordering wraps")
"""Functions that set attributes of what they are called with."""
_OWN_DESCRIPTORS = frozenset({0, 1, 2})
"""Descriptors of a test; the others are other tests' inputs and answers."""


def leaves_state(source: str, tree: ast.Module) -> bool:
    """Return whether one test could change what the next one finds in the same process."""
    if _LASTING.search(source):
        return True
    imported: dict[str, Any] = {}
    nodes = list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            if not _harmless_import(node):
                return True
            imported |= _bound(node)
    return (
        any(_changes_module(node, imported) for node in nodes)
        or _opens_by_another_name(nodes)
        or (bool(imported) and _keeps_what_is_imported(nodes, imported))
        or reached_names.reaches_lasting(nodes, imported)
    )


def _harmless_import(node: ast.Import | ast.ImportFrom) -> bool:
    for module in modules(node):
        if module in {"sys", "os"}:
            allowed = _HARMLESS_SYS if module == "sys" else _HARMLESS_OS
            if isinstance(node, ast.Import):
                # under its own name, whose attributes are looked at one by one
                if any(a.asname or a.name not in {"sys", "os", "os.path"} for a in node.names):
                    return False
            elif node.module != "os.path" and not allowed.issuperset(a.name for a in node.names):
                return False
        elif module not in _HARMLESS_MODULES:
            return False
    return True


def _changes_module(node: ast.AST, imported: dict[str, Any]) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id="sys"), attr=name) if "sys" in imported:
            return name not in _HARMLESS_SYS
        case ast.Attribute(value=ast.Name(id="os"), attr=name) if "os" in imported:
            return name not in _HARMLESS_OS
        case ast.Call(func=ast.Name(id="open") | ast.Attribute(attr="open"), args=arguments):
            # a descriptor belongs to this test; a file would be there for the next test
            return not (arguments and _descriptor(arguments[0]))
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="os"), attr="read" | "write"),
            args=[ast.Constant(value=descriptor), *_],
        ):
            return descriptor not in _OWN_DESCRIPTORS
        case ast.Call(func=ast.Name(id="eval"), args=arguments):
            return not all(map(is_input, arguments))
        case _:
            return _changes_what_is_imported(node, imported)


def _changes_what_is_imported(node: ast.AST, imported: dict[str, Any]) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in imported:
            changes = attribute in _CHANGING_METHODS or attribute.startswith("_")
            return changes or not isinstance(node.ctx, ast.Load)
        case ast.Attribute(value=ast.Attribute() as owner, attr=attribute) if (
            attribute in _CHANGING_METHODS
        ):
            return _root(owner) in imported
        case (
            ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del())
        ):
            return _root(node) in imported or _root(node) == "type"
        case _:
            return False


def _opens_by_another_name(nodes: list[ast.AST]) -> bool:
    """Return whether `open` or `eval` is used other than by a call: its arguments are unknown."""
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    for node in nodes:
        match node:
            case ast.Name(id="open" | "eval") | ast.Attribute(attr="open"):
                if id(node) not in called:
                    return True
            case ast.ImportFrom(names=names):
                if any(alias.name == "open" and alias.asname for alias in names):
                    return True
    return False


def _keeps_what_is_imported(nodes: list[ast.AST], imported: dict[str, Any]) -> bool:
    """Return whether something imported that keeps state is held where it cannot be followed.

    That is a container anywhere, and a module that is passed on. Where attributes are set, it is
    also a class, a function or a type of `typing` that is passed on.
    """
    sets = any(
        (isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load))
        or (isinstance(node, ast.Name) and node.id in _SETTERS)
        for node in nodes
    )
    inner, used = _inner_and_used(nodes)
    for node in nodes:
        if not isinstance(node, ast.Name | ast.Attribute):
            continue
        name, attributes = _chain(node)
        if name not in imported:
            continue
        value = _object_of(imported[name], attributes)
        if isinstance(value, _CONTAINERS):
            return True
        if id(node) in inner or not isinstance(node.ctx, ast.Load):
            continue
        if isinstance(value, ModuleType):
            return True
        if sets and id(node) not in used and _takes_attributes(value):
            return True
    return False


def _inner_and_used(nodes: list[ast.AST]) -> tuple[set[int], set[int]]:
    """Return the nodes whose attribute is taken, and those that are called or name a type."""
    inner: set[int] = set()
    used: set[int] = set()
    for node in nodes:
        match node:
            case ast.Attribute(value=part):
                inner.add(id(part))
            case ast.Call(func=part, args=arguments):
                used.add(id(part))
                match part:
                    case ast.Name(id="isinstance" | "issubclass"):
                        used.update(id(n) for a in arguments[1:] for n in ast.walk(a))
            case ast.Compare(comparators=parts):
                used.update(map(id, parts))
            case ast.ClassDef(bases=parts, decorator_list=more):
                used.update(id(n) for part in parts for n in ast.walk(part))
                used.update(map(id, more))
            case ast.FunctionDef(decorator_list=parts, returns=returned):
                used.update(map(id, parts))
                used.update(map(id, ast.walk(returned) if returned else ()))
            case ast.arg(annotation=ast.expr() as note) | ast.AnnAssign(annotation=note):
                used.update(map(id, ast.walk(note)))
            case ast.ExceptHandler(type=ast.expr() as note) | ast.Raise(exc=ast.expr() as note):
                used.update(map(id, ast.walk(note)))
    kept = {id(node.value) for node in nodes if isinstance(node, ast.NamedExpr)}
    return inner, used - kept


def _root(node: Any) -> str:
    """Return the node that a chain of attributes and items begins with, or that is called."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    if isinstance(node, ast.Call):
        node = node.func
    return node.id if isinstance(node, ast.Name) else ""


def is_input(node: ast.expr) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="input") | ast.Attribute(attr="readline" | "strip")):
            return True
        case _:
            return False


def _descriptor(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=value):
            return value in _OWN_DESCRIPTORS
        case ast.Call(func=ast.Attribute(attr="fileno")):
            return True
        case _:
            return False


def modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [(node.module or "").partition(".")[0]]
    return [alias.name.partition(".")[0] for alias in node.names]


# What an imported name refers to, found by look-up before the program runs. A number, a text or a
# function in C keeps nothing. A dictionary, a list or a module keeps what is put into it, whatever
# name it has by then. A class or a function in Python keeps the attributes that are set on it.

_CONTAINERS = (dict, list, set, bytearray)
_NO_ATTRIBUTES = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE
_FRESH = "sys"
"""The module whose contents are made for each test, and do not exist yet."""


class _Unknown:
    """An object that is unknown: treated as a class of the program's own."""


def _bound(node: ast.Import | ast.ImportFrom) -> dict[str, Any]:
    """Return the names that an import of a harmless module binds, with their objects."""
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
            names.update((name, _object_of(module, [name])) for name in found)
        else:
            names[alias.asname or alias.name] = _object_of(module, [alias.name])
    return names


def _object_of(value: Any, attributes: list[str]) -> Any:
    """Return the object that a chain of attributes leads to."""
    for name in attributes:
        value = None if value is None else getattr(value, name, _Unknown)
    return value


def _chain(node: ast.AST) -> tuple[str, list[str]]:
    """Split `a.b.c` into `("a", ["b", "c"])`; the name is empty where it begins otherwise."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return (node.id if isinstance(node, ast.Name) else ""), attributes[::-1]


def _takes_attributes(value: Any) -> bool:
    """Return whether an attribute can be set on an object, or on what it makes and keeps."""
    if type(value).__module__ == "typing":
        return True
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
