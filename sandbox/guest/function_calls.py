"""The program's side of calls: find its functions, pack what they return, answer a script.

A script (`script_run.py`) may use the program's objects in each way that a class can define. It
never asks whether they equal plain data: the program must not decide that.
"""

from __future__ import annotations

import contextlib
import itertools
import operator
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

from sandbox.guest import plain_data, program_state, remotes
from sandbox.guest.layout import BUILTIN_TYPES, Claim, Messages, packed_type

_MOST_REQUEST_BYTES = 2**31
_getpid = os.getpid


class NoAnswer(Exception):
    """A value that cannot be sent, with the claim that the test then ends with."""

    def __init__(self, claim: Claim, detail: str) -> None:
        super().__init__(detail)
        self.claim, self.detail = claim, detail


def find(module: ModuleType, name: str) -> Any:
    """Return the function of this name; a method of a new `Solution` where there is one.

    A `Solution` may get the method when it is made, or make it when it is asked for. A problem may
    also name an expression, as `Solution().twoSum`. Raises `NameError`, and what making a
    `Solution` raises.
    """
    names = vars(module)
    solution = names.get("Solution")
    if isinstance(solution, type) and hasattr(solution, name):
        return getattr(solution(), name)
    if name in names:
        return names[name]
    if not name.isidentifier():
        return eval(name, names)  # noqa: S307 - of the problem, in the program's own process
    found = getattr(solution(), name, names) if isinstance(solution, type) else names
    if found is names:
        raise NameError(f"the program defines no {name}")
    return found


def packed(
    value: object, most_bytes: int, outside: Callable[[Any], list[Any]] = plain_data.left_behind
) -> bytes:
    """Encode what the program returned. Raises `NoAnswer`."""
    # the program may have left hardly any recursion depth
    program_state.set_recursion_limit(10 * program_state.RECURSION_LIMIT)
    try:
        encoded = plain_data.encode(value, outside)
    except (plain_data.Unreadable, RecursionError):
        raise NoAnswer(
            Claim.UNREADABLE, "the return value is cyclic or nested too deeply"
        ) from None
    except (plain_data.TooLarge, MemoryError):
        raise NoAnswer(Claim.TOO_LARGE, "the return value is too large") from None
    except BaseException as error:
        detail = f"the return value cannot be read: {program_state.describe(error)}"
        raise NoAnswer(Claim.FAILED, detail) from None
    if len(encoded) > most_bytes:
        raise NoAnswer(Claim.TOO_LARGE, "the return value is over the output limit")
    return encoded


class ScriptServer:
    """The server that does what a script asks for, until the script has ended."""

    def __init__(self, pipes: tuple[int, int], module: ModuleType, most_bytes: int) -> None:
        self._messages = Messages(*pipes, most_bytes=_MOST_REQUEST_BYTES)
        self._module = module
        self._most = most_bytes
        self._objects: list[object] = []
        """Objects that the script holds, by number; they are kept as long as the program lives."""
        self._tags: dict[str, Callable[..., Any]] = {
            "y": BUILTIN_TYPES.__getitem__,
            "h": lambda number, _type_name: self._objects[number],
            "g": lambda name: find(module, name),
        }

    def serve(self) -> None:
        """Serve. Raises `NoAnswer`, and what is no `Exception` of the program, which then ends."""
        own = _getpid()
        while (request := self._messages.receive()) is not None:
            try:
                value = self._done(request)
            except Exception as error:
                reply = self._raised(error)
            else:
                limit = program_state.recursion_limit()
                reply = packed(("value", value), self._most, self._packed)
                program_state.set_recursion_limit(limit)
                del value
            if _getpid() != own:  # a forked child that came back out of the function
                return
            self._messages.send(reply)

    def _done(self, request: bytes) -> object:
        operation, target, arguments, named = plain_data.decode(request, self._tags)
        if type(target) is str:
            target = find(self._module, target)
        return _OPERATIONS[operation](target, *arguments, **named)

    def _packed(self, value: object) -> list[Any]:
        known = packed_type(value)
        if known is not None:
            return known
        self._objects.append(value)
        return ["h", len(self._objects) - 1, plain_data.left_behind(value)[1]]

    def _raised(self, error: Exception) -> bytes:
        kinds = [k.__name__ for k in type(error).__mro__ if BUILTIN_TYPES.get(k.__name__) is k]
        detail, text = program_state.describe(error), program_state.text_of(error)
        if type(error).__name__ == kinds[0]:
            with contextlib.suppress(NoAnswer):  # it cannot be sent: its text is enough
                return packed(("raised", kinds, error.args, detail), self._most, self._packed)
        return packed(("raised", kinds, (text,), detail), self._most)


def _call(function: Any, /, *arguments: Any, **named: Any) -> object:
    return function(*arguments, **named)


_OPERATIONS: dict[str, Callable[..., object]] = {
    "call": _call,
    "get": getattr,
    "item": operator.getitem,
    "items": lambda value: list(itertools.islice(value, plain_data.MAX_ITEMS + 1)),
    "length": len,
    "truth": bool,
    "operate": remotes.operate,
}
