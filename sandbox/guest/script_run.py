"""The other child: run an assert script against the program's child, and decide the result.

It has another user than the program, none of its files and memory, and two pipes to it
(`layout.py`). The script sees *remotes*: `candidate`, the function under its own name, every
other name that only the program can define, and objects that came back. What comes back is typed
plain data, or a remote, which equals no plain data.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import json
import os
import random
import warnings
from collections.abc import Callable
from types import CodeType
from typing import Any, NoReturn

from sandbox.guest import layout, plain_data, program_state
from sandbox.guest.layout import ScriptEnd, read_all
from sandbox.guest.remotes import Remote

_FILE_NAME = "<test_code>"
_FROM_PROGRAM = "stepcoder_detail"
"""Attribute of an exception that came from the program; its value says where it came from."""
_REPLY_HEAD_BYTES = 4096
_MOST_KINDS = 20
_SWALLOWED = ("StopIteration", "StopAsyncIteration")
"""Exceptions of the program that would end a loop of the script instead of failing it."""


class _ProgramGone(BaseException):
    """The program's process does not answer, or its answer cannot be read."""


class _Unsendable(TypeError):
    """The script passes an object that is no plain data, no built-in type and no remote."""


class _Caller:
    """The script's side of calls: one request at a time."""

    def __init__(self, pipes: tuple[int, int], most_bytes: int) -> None:
        self._messages = layout.Messages(*pipes, most_bytes=most_bytes + _REPLY_HEAD_BYTES)
        self._tags: dict[str, Callable[..., Any]] = {
            "y": layout.BUILTIN_TYPES.__getitem__,
            "h": self._object,
        }
        self.calls = 0

    def named(self, name: str) -> Remote:
        return Remote(self.ask, name, 0, "function")

    def _object(self, number: object, type_name: object) -> Remote:
        if type(number) is not int or not isinstance(type_name, str):
            raise plain_data.Unreadable
        return Remote(self.ask, None, number, type_name)

    def ask(self, operation: str, target: Remote, arguments: Any = (), named: Any = None) -> Any:
        """Send a request. Raises the program's exception as a built-in one, or `_ProgramGone`."""
        self.calls += 1
        place = target.stepcoder_target
        whom: object = place if isinstance(place, str) else target
        request = plain_data.encode((operation, whom, list(arguments), named or {}), _packed)
        try:
            self._messages.send(request)
            reply = self._messages.receive()
            if reply is None:
                raise _ProgramGone("the program ended before the script")
            kind, *parts = plain_data.decode(reply, self._tags)
            if kind == "value":
                (value,) = parts
                return value
            kinds, raised, detail = parts
            if not (isinstance(kinds, list) and type(raised) is tuple):
                raise plain_data.Unreadable
            error = _as_builtin(kinds, raised, str(detail))
        except (OSError, ValueError, TypeError, KeyError):
            # raised by reading what the program sent, never by the script
            raise _ProgramGone("the program's answer cannot be read") from None
        raise error

    def end(self) -> None:
        try:
            self._messages.send(b"")
        except OSError:
            return  # the program has ended already


def run(script: int, verdict: int, pipes: tuple[int, int], nothing: int, most: int) -> NoReturn:
    """Run the script and leave the process; the verdict is in its file before the end."""
    caller = _Caller(pipes, most)
    end, detail = _judged(json.loads(read_all(script)), caller, nothing)
    os.pwrite(verdict, json.dumps([end, detail]).encode("ascii"), 0)
    caller.end()
    os._exit(0)


def _judged(spec: dict[str, str], caller: _Caller, nothing: int) -> tuple[ScriptEnd, str]:
    source = spec["script"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
            script = compile(tree, _FILE_NAME, "exec", dont_inherit=True)
            setup = compile(spec["setup_code"], "<setup>", "exec", dont_inherit=True)
    except Exception as error:
        return ScriptEnd.INVALID, f"does not compile: {program_state.describe(error)}"
    names = vars(program_state.fresh("__main__", nothing, nothing))
    random.seed(0)  # the same inputs for each program and at each time
    try:
        exec(setup, names)
        _bind(names, tree, caller, spec["entry_point"])
        _execute(names, tree, script)
    except SystemExit as left:
        if left.code:
            return ScriptEnd.FAILED, f"test_code: exit code {left.code}"
    except BaseException as error:
        return _ended_by(error, source)
    if not caller.calls:
        return ScriptEnd.INVALID, "ended without a call of the program: no tests is never a pass"
    return ScriptEnd.PASSED, ""


def _bind(names: dict[str, Any], tree: ast.Module, caller: _Caller, entry_point: str) -> None:
    """Bind the function under test, and names that neither script nor Python defines."""
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and type(n.ctx) is ast.Load}
    for name in used:
        if name not in names and not hasattr(builtins, name):
            names[name] = caller.named(name)
    names["candidate"] = names[entry_point] = caller.named(entry_point)


def _execute(names: dict[str, Any], tree: ast.Module, script: CodeType) -> None:
    """Run the script to its last line, and its `check` where it does not call that itself."""
    candidate = names["candidate"]
    exec(script, names)
    defined = any(isinstance(s, ast.FunctionDef) and s.name == "check" for s in tree.body)
    called = any(
        isinstance(s, ast.Expr)
        and isinstance(s.value, ast.Call)
        and isinstance(s.value.func, ast.Name)
        and s.value.func.id == "check"
        for s in tree.body
    )
    if defined and not called:
        names["check"](candidate)


def _ended_by(error: BaseException, source: str) -> tuple[ScriptEnd, str]:
    from_program = getattr(error, _FROM_PROGRAM, None)
    if isinstance(error, _ProgramGone):
        return ScriptEnd.FAILED, str(error)
    if from_program is not None:
        out_of_memory = isinstance(error, MemoryError)
        return (ScriptEnd.OUT_OF_MEMORY if out_of_memory else ScriptEnd.FAILED), from_program
    detail = program_state.describe(error, _FILE_NAME, source)
    if isinstance(error, AssertionError):
        return ScriptEnd.WRONG, detail
    if isinstance(error, _Unsendable | ImportError):
        return ScriptEnd.INVALID, f"cannot be run: {detail}"
    if isinstance(error, MemoryError):
        return ScriptEnd.OUT_OF_MEMORY, f"test_code: {detail}"
    return ScriptEnd.FAILED, f"test_code: {detail}"


def _packed(value: object) -> list[Any]:
    known = layout.packed_type(value)
    if known is not None:
        return known
    if isinstance(value, Remote):
        place = value.stepcoder_target
        return ["g", place] if isinstance(place, str) else place
    raise _Unsendable(f"a {type(value).__name__} cannot be sent to the program")


def _as_builtin(kinds: list[str], arguments: tuple[Any, ...], detail: str) -> Exception:
    """Return the nearest built-in exception; `RuntimeError` for any other."""
    made: Exception = RuntimeError(detail)
    known = [] if not set(_SWALLOWED).isdisjoint(kinds) else kinds[:_MOST_KINDS]
    for name in known:
        kind = layout.BUILTIN_TYPES.get(name)
        if kind is None or not issubclass(kind, Exception):
            continue
        with contextlib.suppress(Exception):  # it may need other arguments than its base
            made = kind(*arguments)
            break
    setattr(made, _FROM_PROGRAM, detail)
    return made
