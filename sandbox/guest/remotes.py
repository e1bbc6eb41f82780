"""What an assert script has of the program's: functions and objects that stay in its process.

A remote forwards what a class can define (operators, protocols, attributes) to the program's
process (`function_calls.py`), where the object is. Two things the program must not decide, since it
would learn what is expected and could agree to it: whether an object equals plain data, which it
never does, and how it compares with a number or differs from one, which is a `TypeError`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

from sandbox.guest import layout, plain_data
from sandbox.guest.source.reached_names import words

_BINARY = words(
    """
    add sub mul matmul truediv floordiv mod lshift rshift and or xor pow divmod
    iadd isub imul imatmul itruediv ifloordiv imod ilshift irshift iand ior ixor ipow
    """
)
_ORDER = words("lt le gt ge")
_UNARY = words(
    "neg pos abs invert index int float complex hash str repr bytes trunc floor ceil enter"
)
_OTHER = words("round format setitem delitem")
_TELLING = _ORDER | words("sub rsub isub truediv rtruediv itruediv xor rxor ixor")
"""Operators by which an object could learn a number that it is compared with, and agree to it."""


def _next(value: Any) -> list[Any]:
    """Return the next item in a list, which is empty at the end: `StopIteration` is never sent."""
    end: list[Any] = []
    item = next(value, end)
    return end if item is end else [item]


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "and": operator.and_,
    "or": operator.or_,
    "pow": pow,
    "divmod": divmod,
    "int": int,
    "float": float,
    "complex": complex,
    "hash": hash,
    "str": str,
    "repr": repr,
    "bytes": bytes,
    "trunc": math.trunc,
    "floor": math.floor,
    "ceil": math.ceil,
    "round": round,
    "format": format,
    "reversed": lambda value: list(reversed(value)),
    "contains": operator.contains,
    "enter": lambda value: type(value).__enter__(value),
    "exit": lambda value, *error: bool(type(value).__exit__(value, *error)),
    "next": _next,
    "set": setattr,
    "delete": delattr,
    "isinstance": lambda kind, value: isinstance(value, kind),
    "issubclass": lambda kind, other: issubclass(other, kind),
}


def operate(target: Any, name: str, /, *arguments: Any) -> Any:
    """Do in the program's process what a remote is asked for."""
    if name.startswith("r") and name[1:] in _BINARY:
        (other,) = arguments
        return operate(other, name[1:], target)
    return (_FUNCTIONS.get(name) or getattr(operator, name))(target, *arguments)


class Remote(plain_data.Opaque):  # noqa: PLW1641 - its hash is forwarded as well
    """A function or an object of the program. It equals no plain data."""

    __slots__ = ("__name__", "stepcoder_ask", "stepcoder_target")

    def __init__(self, ask: Any, target: str | None, number: int, type_name: str) -> None:
        super().__init__(type_name)
        own = object.__setattr__
        own(self, "stepcoder_ask", ask)
        own(self, "stepcoder_target", ["h", number, type_name] if target is None else target)
        own(self, "__name__", target or type_name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.stepcoder_ask("call", self, arguments, named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.stepcoder_ask("get", self, [name])

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "type_name":
            object.__setattr__(self, name, value)
        else:
            self.stepcoder_operate("set", name, value)

    def __delattr__(self, name: str) -> None:
        self.stepcoder_operate("delete", name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.stepcoder_ask("items", self))

    def __next__(self) -> Any:
        found = self.stepcoder_operate("next")
        if not found:
            raise StopIteration
        return found[0]

    def __reversed__(self) -> Iterator[Any]:
        return iter(self.stepcoder_operate("reversed"))

    def __getitem__(self, key: Any) -> Any:
        return self.stepcoder_ask("item", self, [key])

    def __len__(self) -> int:
        return self.stepcoder_ask("length", self)  # type: ignore[no-any-return]  # Python checks it

    def __bool__(self) -> bool:
        return isinstance(self.stepcoder_target, str) or self.stepcoder_ask("truth", self) is True

    def __contains__(self, item: Any) -> bool:
        try:
            items = iter(self)
        except TypeError:  # a container without items to look at
            return self.stepcoder_operate("contains", item) is True
        return any(item is one or item == one for one in items)

    def __exit__(self, kind: object, error: object, _trace: object) -> bool:
        known = kind is None or layout.packed_type(kind) is not None
        sent = [kind if known else Exception, error and str(error), None]
        return self.stepcoder_operate("exit", *sent) is True

    def __instancecheck__(self, value: object) -> bool:
        return isinstance(value, Remote) and self.stepcoder_operate("isinstance", value) is True

    def __subclasscheck__(self, kind: object) -> bool:
        return isinstance(kind, Remote) and self.stepcoder_operate("issubclass", kind) is True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and bool(self.stepcoder_operate("eq", other))

    def __ne__(self, other: object) -> bool:
        return not isinstance(other, Remote) or bool(self.stepcoder_operate("ne", other))

    def __copy__(self) -> Remote:
        return self

    def __deepcopy__(self, _memo: object) -> Remote:
        return self

    def stepcoder_operate(self, name: str, *arguments: Any) -> Any:
        if name in _TELLING and isinstance(arguments[0], int | float | complex):
            raise TypeError(
                f"an object of the program ({self.type_name}) is not compared with a number"
            )
        return self.stepcoder_ask("operate", self, [name, *arguments])


def _forwarding(name: str) -> Callable[..., Any]:
    def method(self: Remote, *arguments: Any) -> Any:
        return self.stepcoder_operate(name, *arguments)

    return method


for _name in _BINARY | {f"r{n}" for n in _BINARY if n[0] != "i"} | _ORDER | _UNARY | _OTHER:
    setattr(Remote, f"__{_name}__", _forwarding(_name))
