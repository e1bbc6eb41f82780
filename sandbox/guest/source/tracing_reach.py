"""Whether a source touches tracing machinery, so that its executed lines prove nothing.

A program that reaches it can stop or forge its own coverage, and reach what the next test in the
same process would find. Only the source is looked at, and in doubt it counts as touching. This does
not decide whether an answer is right.
"""

from __future__ import annotations

import ast
import re

from sandbox.guest.source.reached_names import words
from sandbox.guest.source.source_traits import is_input, modules

_TRACING = re.compile(
    r"settrace|setprofile|monitoring|_getframe|_current_frames|currentframe|get_objects|"
    r"get_referrers|get_referents|ctypes|cffi|f_trace|f_back|f_locals|f_globals|f_lineno|tb_frame|"
    r"gi_frame|cr_frame|ag_frame|\bmmap\b|/proc|inspect|__code__|co_code|co_lines|__globals__|"
    r"__closure__|cell_contents|__subclasses__|__builtins__|__import__|importlib|__loader__|"
    r"__spec__|\bexec\b|audithook|\bbdb\b|\bpdb\b|faulthandler|_xxsubinterpreters|_interpreters|"
    r"_testcapi|_testinternalcapi|process_vm|memfd|__self__|__getattribute__|__dict__|"
    r"get_type_hints|ForwardRef|\bFormatter\b|breakpoint|__func__"
)
_TRACING_MODULES = words(
    """
    _pickle bdb builtins cProfile code codeop copyreg ctypes doctest importlib inspect marshal mmap
    pdb pickle pkgutil profile pydoc runpy sandbox shelve timeit trace tracemalloc types unittest
    """
)
_BY_NAME = words("attrgetter eval getattr methodcaller vars")
"""Functions that reach what their arguments name; arguments in the source are looked at."""
_TO_MODULES = words("_sys modules")


def touches_tracing(source: str, tree: ast.Module) -> bool:
    """Return whether the program's own coverage cannot be trusted."""
    if _TRACING.search(source):
        return True
    nodes = list(ast.walk(tree))
    return any(map(_reaches_for_tracing, nodes)) or _reaches_by_name(source, nodes)


def _reaches_for_tracing(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=str(text)):
            # escapes hide a name in the text of the source
            return bool(_TRACING.search(text))
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return _names_tracing(name)
        case ast.MatchClass(kwd_attrs=names):
            return any(map(_names_tracing, names))
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            parts = [part for alias in names for part in alias.name.split(".")]
            return (
                not _TRACING_MODULES.isdisjoint(modules(node))
                or any(map(_names_tracing, parts))
                or any(alias.asname and alias.name in _BY_NAME for alias in names)
                or (modules(node) == ["sys"] and "*" in parts)
            )
        case _:
            return False


def _names_tracing(name: str) -> bool:
    # the parser has normalised letters that only look different
    return not name.isascii() or name in _TO_MODULES or bool(_TRACING.search(name))


def _reaches_by_name(source: str, nodes: list[ast.AST]) -> bool:
    """Return whether an attribute is reached whose name is not in the source."""
    if not any(name in source for name in _BY_NAME):
        return False
    named: set[int] = set()
    for node in nodes:
        match node:
            case ast.Call(func=ast.Name(id="getattr") as function, args=[_, ast.Constant(), *_]):
                named.add(id(function))
            case ast.Call(func=ast.Name(id="eval") as function, args=arguments) if all(
                isinstance(a, ast.Constant) or is_input(a) for a in arguments
            ):
                named.add(id(function))
            case ast.Call(
                func=ast.Name(id="attrgetter" | "methodcaller")
                | ast.Attribute(attr="attrgetter" | "methodcaller") as function,
                args=arguments,
            ) if all(isinstance(a, ast.Constant) for a in arguments):
                named.add(id(function))
            case ast.Call(func=ast.Name(id="vars") as function, args=[]):
                named.add(id(function))
    return any(
        isinstance(node, ast.Name | ast.Attribute)
        and (node.id if isinstance(node, ast.Name) else node.attr) in _BY_NAME
        and id(node) not in named
        for node in nodes
    )
