"""The state that a program starts with, and its end, as in a process of its own.

`fresh` gives a new `__main__`, new standard streams on descriptors 0 and 1 and the interpreter's
usual settings. `script_ended` and `finish` do what the interpreter does after the last line, in its
order (`_PyRun_SimpleFile`, `Py_FinalizeEx`). What a program leaves to them is written, or lost, as
in a process of its own.
"""

from __future__ import annotations

import _io
import _signal  # type: ignore[import-not-found]  # `signal` makes an enumeration of each answer
import _thread
import atexit
import builtins
import contextlib
import gc
import io
import os
import sys
import threading
import typing
import weakref
from collections.abc import Callable
from types import ModuleType

from sandbox.guest.layout import Claim

FILE_NAME = "program.py"
RECURSION_LIMIT = 1000
_MOST_RECURSION = 2**31 - 1
_MOST_CHARS = 300
"""Most characters of an exception's text."""

# bound early: each program gets others, and can patch what it finds by name
set_recursion_limit, recursion_limit = sys.setrecursionlimit, sys.getrecursionlimit

_standard: list[weakref.ref[object]] = []
"""Yield every layer of the standard streams."""
_IN_MEMORY = (io.BytesIO, io.StringIO)
_MAIN_MODULE = sys.modules.get("__main__")
_builtins = vars(builtins)
_builtins_before = dict(_builtins)
_int_digits = sys.get_int_max_str_digits()
_signals = sorted(map(int, _signal.valid_signals()))
_forget_types: tuple[Callable[[], None], ...] = tuple(getattr(typing, "_cleanups", ()))
"""Empty the caches of `typing`, where `List[Node]` holds a program's class with its globals."""


def fresh(name: str, stdin: int, stdout: int) -> ModuleType:
    """Return an empty module by this name, with descriptors 0 and 1 and all settings in place."""
    os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    _standard.clear()
    sys.stdin = sys.__stdin__ = _text_stream(0, "r", "<stdin>")  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = _text_stream(1, "w", "<stdout>")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _text_stream(2, "w", "<stderr>")  # type: ignore[misc]
    sys.argv = [FILE_NAME]
    _set_program_depth(_depth() - 1)
    sys.set_int_max_str_digits(_int_digits)
    _restore_builtins()
    module = ModuleType(name)
    module.__file__ = FILE_NAME
    module.__builtins__ = builtins  # type: ignore[attr-defined]
    sys.modules[name] = module
    if name != "__main__" and _MAIN_MODULE is not None:
        sys.modules["__main__"] = _MAIN_MODULE
    return module


def _set_program_depth(frames: int) -> None:
    """Leave our own frames below the program's out of its recursion limit, and of what it sets."""
    set_recursion_limit(RECURSION_LIMIT + frames)
    sys.setrecursionlimit = _LimitSetter(frames)
    sys.getrecursionlimit = _LimitGetter(frames)


class _LimitSetter:
    """`sys.setrecursionlimit` of a program; an object, since a function would keep attributes."""

    __slots__ = ("_frames",)

    def __init__(self, frames: int) -> None:
        self._frames = frames

    def __call__(self, limit: int, /) -> None:
        sensible = isinstance(limit, int) and 0 < limit <= _MOST_RECURSION
        set_recursion_limit(min(limit + self._frames, _MOST_RECURSION) if sensible else limit)


class _LimitGetter(_LimitSetter):
    """`sys.getrecursionlimit` of a program."""

    __slots__ = ()

    def __call__(self) -> int:  # type: ignore[override]  # another function, of the same depth
        return recursion_limit() - self._frames


def script_ended() -> None:
    """Flush when the last line has run, before threads are waited for. Errors appear at exit."""
    for name in ("stderr", "stdout"):
        with contextlib.suppress(BaseException):
            getattr(sys, name).flush()


def finish(kept: list[ModuleType]) -> tuple[Claim, str] | None:
    """Do what the interpreter does at exit. Return why it cannot flush (the exit code is then 120).

    Apart from `sys.modules` only `kept` holds a reference to the module, and it is removed here, so
    that finalizers and suspended generators find their globals as they were.
    """
    with contextlib.suppress(BaseException):
        if _thread._count():  # noqa: SLF001 - threads that `threading` does not know count as well
            threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()  # noqa: SLF001
    trouble = _flush()
    _forget_signal_handlers()
    # while the module lives, for what it does to the order of what is still reachable: a text file
    # comes before the files that it wraps, and so is finalized before them when all is garbage
    if gc.isenabled():
        gc.collect()
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, name, getattr(sys, f"__{name}__", None))
    _release(kept)
    _close_what_is_left()
    # what finalizers have printed; an error is not reported any more
    sys.stdin = sys.__stdin__ = None  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = None  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = None  # type: ignore[misc]
    return trouble


def _flush() -> tuple[Claim, str] | None:
    trouble = None
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        try:
            if stream is not None and not _closed(stream):
                stream.flush()
        except BaseException as error:
            # made now: a kept exception would keep frames of the program, and what they hold
            trouble = trouble or ended_by(error)
    return trouble


def _closed(stream: object) -> bool:
    try:
        return bool(stream.closed)  # type: ignore[attr-defined]
    except BaseException:
        return False


def _forget_signal_handlers() -> None:
    """Reset signal handlers: one of the program holds all its globals."""
    for number in _signals:
        handler = _signal.getsignal(number)
        if callable(handler) and handler is not _signal.default_int_handler:
            with contextlib.suppress(OSError, ValueError):
                _signal.signal(number, _signal.SIG_DFL)


def _release(kept: list[ModuleType]) -> None:
    """Drop the module and what else holds its objects, then collect them."""
    for name in ("__main__", "solution"):
        if sys.modules.get(name) is kept[0]:
            del sys.modules[name]
    left = weakref.ref(kept.pop())
    _restore_builtins()
    for forget in _forget_types:
        forget()
    gc.enable()
    gc.collect()
    module = left()
    if module is None:
        return
    globals_ = vars(module)  # something else holds it
    names = [n for n in globals_ if isinstance(n, str) and n != "__builtins__"]
    private = [n for n in names if n.startswith("_") and not n.startswith("__")]
    for name in private + names:
        globals_[name] = None


def _close_what_is_left() -> None:
    """Close files that the interpreter's own objects hold, such as an attribute of a module.

    The interpreter takes its modules apart at exit. Ours are needed for the next test, and such a
    file would close the next test's descriptors if it were finalized later.
    """
    with contextlib.suppress(BaseException):
        standard = {id(layer()) for layer in _standard}
        for found in gc.get_objects():
            kind = type(found)
            if (
                issubclass(kind, _io._IOBase)  # noqa: SLF001 - of C: asks nothing of the program's
                and kind not in _IN_MEMORY
                and id(found) not in standard
            ):
                with contextlib.suppress(BaseException):
                    found.close()


def _restore_builtins() -> None:
    if len(_builtins) != len(_builtins_before) or any(
        _builtins.get(key) is not value for key, value in _builtins_before.items()
    ):
        kept = dict(_builtins)  # finalizers of what it holds need the built-ins  # noqa: F841
        _builtins.clear()
        _builtins.update(_builtins_before)


def ended_by(error: BaseException) -> tuple[Claim, str]:
    """Return the claim and the text that a test ends with for an exception."""
    claim = Claim.OUT_OF_MEMORY if isinstance(error, MemoryError) else Claim.FAILED
    return claim, describe(error)


def describe(error: BaseException, file_name: str = FILE_NAME, source: str = "") -> str:
    """Return one line, `ValueError: no such thing (line 3)`, whatever the error's own methods do.

    With `source` it also has the text of that line.
    """
    text = f"{type(error).__name__}: {text_of(error)}".removesuffix(": ")
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file_name:
            line = trace.tb_lineno
        trace = trace.tb_next
    if line is None:
        return text
    lines = source.split("\n")[line - 1 : line] if source else []
    return f"{text} (line {line}{': ' + lines[0].strip()[:_MOST_CHARS] if lines else ''})"


def text_of(error: BaseException) -> str:
    """Return the exception's own text; empty where asking for it raises."""
    try:
        return str(error)[:_MOST_CHARS]
    except BaseException:
        return ""


def threads_left() -> bool:
    """Return whether a thread has outlived the program."""
    return bool(_thread._count())  # noqa: SLF001


def _text_stream(descriptor: int, mode: str, name: str) -> io.TextIOWrapper:
    """Make a standard stream as Python does under C.UTF-8, not closed with the object."""
    raw = io.FileIO(descriptor, mode, closefd=False)
    raw.name = name
    buffer = io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw)
    errors = "backslashreplace" if descriptor == 2 else "surrogateescape"  # noqa: PLR2004
    stream = io.TextIOWrapper(buffer, "utf-8", errors, "\n", line_buffering=descriptor == 2)  # noqa: PLR2004
    _standard.extend(map(weakref.ref, (stream, buffer, raw)))
    # the interpreter sets it on its own streams, and contest programs with own readers ask for it
    stream.mode = mode  # type: ignore[misc]
    return stream


def _depth() -> int:
    frame, depth = sys._getframe(1), 0  # noqa: SLF001
    while frame is not None:
        frame, depth = frame.f_back, depth + 1  # type: ignore[assignment]
    return depth
