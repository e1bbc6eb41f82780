"""What a source touches, told before it runs.

*Tracing machinery*: whoever reaches for it can stop or forge its own coverage, so its executed
lines prove nothing. *Lasting state*: whatever outlives one test in the interpreter. A program
without any may run all its tests in one child, with fresh globals for each; any other gets a
process a test. Both judge by what stands in the source and err on the careful side; neither has
a say in whether an answer is right.
"""

from __future__ import annotations

import ast
import contextlib
import re
from typing import Any

_TRACING = re.compile(
    r"settrace|setprofile|monitoring|_getframe|_current_frames|currentframe|get_objects|"
    r"get_referrers|get_referents|ctypes|cffi|f_trace|f_back|f_locals|f_globals|f_lineno|tb_frame|"
    r"gi_frame|cr_frame|ag_frame|\bmmap\b|/proc|inspect|__code__|co_code|co_lines|__globals__|"
    r"__closure__|cell_contents|__subclasses__|__builtins__|__import__|importlib|__loader__|"
    r"__spec__|\bexec\b|audithook|\bbdb\b|\bpdb\b|faulthandler|_xxsubinterpreters|_interpreters|"
    r"_testcapi|_testinternalcapi|process_vm|memfd"
)
_TRACING_MODULES = frozenset(
    {"bdb", "cProfile", "ctypes", "importlib", "inspect", "mmap", "pdb", "profile", "runpy"}
    | {"trace", "tracemalloc"}
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_HARMLESS_MODULES = _words(
    """
    __future__ abc array base64 binascii bisect cmath collections contextlib copy dataclasses
    datetime enum fractions functools hashlib heapq io itertools json math numbers operator pprint
    queue re statistics string struct textwrap time typing unicodedata zlib
    """
)
_HARMLESS_SYS = _words(
    """
    argv exit float_info getrecursionlimit getsizeof int_info intern maxsize
    set_int_max_str_digits setrecursionlimit stderr stdin stdout version version_info
    """
)
_HARMLESS_OS = _words("fstat getenv linesep path read sep write")
_LASTING = re.compile(
    r"__\w*(?:builtins|import|dict|globals|subclasses|class|base|mro|getattribute|del|loader|"
    r"setattr|setitem)\w*__|"
    r"\b(?:setattr|delattr|setitem|delitem|exec|globals|vars|breakpoint|register|mro|FileIO|"
    r"open_code|update_wrapper)\b"
)
_CHANGING_METHODS = _words(
    "add append appendleft clear discard extend insert pop popitem remove reverse setdefault sort "
    "update"
)
_OWN = frozenset({"self", "cls"})


def touches_tracing(source: str, tree: ast.Module) -> bool:
    """True where the program's own coverage cannot be trusted."""
    return bool(_TRACING.search(source)) or any(map(_reaches_for_tracing, ast.walk(tree)))


def _reaches_for_tracing(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=str(text)):
            # escapes hide a name from the text of the source
            return bool(_TRACING.search(text))
        case ast.Name(id=name) | ast.Attribute(attr=name):
            # the parser has normalised letters that only look different
            return not name.isascii() or bool(_TRACING.search(name))
        case ast.Import() | ast.ImportFrom():
            return not _TRACING_MODULES.isdisjoint(_modules(node))
        case ast.Call(func=ast.Name(id="getattr"), args=[_, name, *_]):
            return not isinstance(name, ast.Constant)
        case _:
            return False


def leaves_state(source: str, tree: ast.Module) -> bool:
    """True where one test could change what the next one finds in the same process."""
    if _LASTING.search(source):
        return True
    imported: set[str] = set()
    nodes = list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            if not _harmless_import(node):
                return True
            imported |= _bound(node)
    return (
        any(_changes_module(node, imported) for node in nodes)
        or _opens_by_another_name(nodes)
        or _changes_by_another_name(nodes, imported)
    )


def _bound(node: ast.Import | ast.ImportFrom) -> set[str]:
    """Names that an import of a harmless module binds."""
    names = {(a.asname or a.name).partition(".")[0] for a in node.names}
    if isinstance(node, ast.ImportFrom) and "*" in names:
        with contextlib.suppress(ImportError):  # then the program fails there as well
            names.update(dir(__import__(str(node.module), fromlist=["*"])))
    return names


def _harmless_import(node: ast.Import | ast.ImportFrom) -> bool:
    for module in _modules(node):
        if module in {"sys", "os"}:
            allowed = _HARMLESS_SYS if module == "sys" else _HARMLESS_OS
            if isinstance(node, ast.Import):
                # under its own name: its attributes are looked at one by one
                if any(a.asname or a.name not in {"sys", "os", "os.path"} for a in node.names):
                    return False
            elif node.module != "os.path" and not allowed.issuperset(a.name for a in node.names):
                return False
        elif module not in _HARMLESS_MODULES:
            return False
    return True


def _changes_module(node: ast.AST, imported: set[str]) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id="sys"), attr=name) if "sys" in imported:
            return name not in _HARMLESS_SYS
        case ast.Attribute(value=ast.Name(id="os"), attr=name) if "os" in imported:
            return name not in _HARMLESS_OS
        case ast.Call(func=ast.Name(id="open") | ast.Attribute(attr="open"), args=arguments):
            # a descriptor is this test's own; a file would be there for the next test
            return not (arguments and _descriptor(arguments[0]))
        case ast.Call(func=ast.Name(id="eval"), args=arguments):
            return not all(map(_is_input, arguments))
        case _:
            return _changes_what_is_imported(node, imported)


def _changes_what_is_imported(node: ast.AST, imported: set[str]) -> bool:
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
            return _root(node) in imported | {"type"}
        case _:
            return False


def _opens_by_another_name(nodes: list[ast.AST]) -> bool:
    """True where `open` or `eval` is anything but called, so that its arguments are not seen."""
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


def _changes_by_another_name(nodes: list[ast.AST], imported: set[str]) -> bool:
    """True where something imported is handed on as it is, and attributes of something are set."""
    sets = any(
        isinstance(node, ast.Attribute)
        and not isinstance(node.ctx, ast.Load)
        and _root(node) not in _OWN
        for node in nodes
    )
    if not sets:
        return False
    used: set[int] = set()
    for node in nodes:
        match node:
            case ast.Call(func=part) | ast.Attribute(value=part) | ast.Subscript(value=part):
                used.add(id(part))
            case ast.ClassDef(bases=parts, decorator_list=more):
                used.update(map(id, parts + more))
            case ast.FunctionDef(decorator_list=parts, returns=returned):
                used.update(map(id, parts))
                used.update(map(id, ast.walk(returned) if returned else ()))
            case ast.arg(annotation=ast.expr() as note) | ast.AnnAssign(annotation=note):
                used.update(map(id, ast.walk(note)))
    return any(
        isinstance(node, ast.Name)
        and isinstance(node.ctx, ast.Load)
        and node.id in imported
        and id(node) not in used
        for node in nodes
    )


def _root(node: Any) -> str:
    """The name that a chain of attributes and items begins with; of a call, what is called."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    if isinstance(node, ast.Call):
        node = node.func
    return node.id if isinstance(node, ast.Name) else ""


def _is_input(node: ast.expr) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="input") | ast.Attribute(attr="readline" | "strip")):
            return True
        case _:
            return False


def _descriptor(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=value):
            return isinstance(value, int)
        case ast.Call(func=ast.Attribute(attr="fileno")):
            return True
        case _:
            return False


def _modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [(node.module or "").partition(".")[0]]
    return [alias.name.partition(".")[0] for alias in node.names]
