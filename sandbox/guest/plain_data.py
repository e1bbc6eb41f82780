"""Plain data as JSON that keeps its types: the arguments and results of call tests.

    None, bool, str, float, int under 64 bits      themselves
    list, tuple, set, frozenset                    ["l", …] ["t", …] ["s", …] ["f", …]
    dict                                           ["d", key, value, key, value, …]
    bytes, bytearray, larger int                   ["b", hex] ["a", hex] ["i", hex]
    complex, nan, inf                              ["c", re, im] ["n", "nan"]
    numpy's bool, integers, floats                 as Python's
    Decimal, Fraction                              ["q", "numerator/denominator", both in hex]
    anything else                                  ["o", type name], which equals nothing,
                                                   or what `outside` makes of it

Pickle is never used, nor a method of the value itself: a subclass of a plain type is read through
the plain type's methods. So an object that claims to equal everything stays behind in the child.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

MAX_DEPTH = 200
MAX_ITEMS = 1_000_000

OPAQUE = b'["o",'
"""The encoding of an object that is no plain data begins with this; texts escape their quotes."""

_SMALL_INT = 2**63
_MOST_SMALL_DIGITS = 20
_MOST_PROBES = 20_000_000
"""Most comparisons among keys of equal hashes: about a second."""
_MOST_RATIO_DIGITS = 4096
"""Of a `Decimal` or `Fraction`: their arithmetic is quadratic."""
_FEW_KEYS = 16
"""So few keys take no time, whatever their hashes are."""
# bound early: the program under test can patch what it finds by name
_to_json = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


class Unreadable(ValueError):
    """The data are nested too deeply, cyclic or not of this encoding."""


class TooLarge(ValueError):
    """The data have more items than `MAX_ITEMS`, or too many with one hash."""


class Opaque:
    """An object that is no plain data, on the host; it equals nothing, not even itself."""

    __slots__ = ("type_name",)
    __hash__ = object.__hash__

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name

    def __eq__(self, other: object) -> bool:
        return False

    def __repr__(self) -> str:
        return f"<{self.type_name} object>"


def _small(digits: str) -> int:
    """Return an integer that is not sent in hex.

    Raises `ValueError`, whatever limit the process has.
    """
    if len(digits) > _MOST_SMALL_DIGITS:
        raise ValueError("an integer with too many digits")
    return int(digits)


_from_json = json.JSONDecoder(parse_int=_small).decode


def left_behind(value: object) -> list[Any]:
    """Return what encodes an object that is no plain data: an exact number, or its type's name."""
    for module, name in (("fractions", "Fraction"), ("decimal", "Decimal")):
        theirs = getattr(sys.modules.get(module), name, None)
        if isinstance(theirs, type) and issubclass(type(value), theirs):
            ratio = _ratio(value, theirs)
            if ratio is not None:
                return ["q", ratio]
    return ["o", str.__str__(type.__dict__["__name__"].__get__(type(value)))[:80]]


def _ratio(value: Any, kind: Any) -> str | None:
    """Return the exact value of a `Decimal` or `Fraction`; None where it has none of sane size."""
    try:
        if kind.__name__ == "Decimal" and abs(kind.adjusted(value)) > _MOST_RATIO_DIGITS:
            return None  # its integers would take minutes to write down
        numerator, denominator = kind.as_integer_ratio(value)
        written = f"{int.__index__(numerator):x}/{int.__index__(denominator):x}"
    except (ArithmeticError, AttributeError, TypeError, ValueError):  # nan, or a patched type
        return None
    return written if len(written) <= _MOST_RATIO_DIGITS else None


def _from_ratio(written: str) -> Any:
    """Return the `int` or `Fraction`, which equals what a `Decimal` of the same value equals."""
    from fractions import Fraction

    numerator, denominator = (int(digits, 16) for digits in written.split("/"))
    if len(written) > _MOST_RATIO_DIGITS or not denominator:
        raise ValueError("no ratio")
    value = Fraction(numerator, denominator)
    return int(value) if value.denominator == 1 else value


def encode(value: object, outside: Callable[[Any], list[Any]] = left_behind) -> bytes:
    """Return ASCII JSON; `outside` packs what is no plain data. Raises `Unreadable`, `TooLarge`."""
    return _to_json(_packed(value, MAX_DEPTH, [MAX_ITEMS], outside)).encode("ascii")


def decode(data: bytes, outside: Mapping[str, Callable[..., Any]] = MappingProxyType({})) -> Any:
    """Read what `encode` wrote; the bytes may be hostile. Raises `Unreadable` or `TooLarge`.

    `outside` unpacks what its counterpart packed, by tag.
    """
    if data.count(b",") + data.count(b"[") > 2 * MAX_ITEMS:
        raise TooLarge
    try:
        return _unpacked(_from_json(data.decode("ascii")), MAX_DEPTH, [_MOST_PROBES], outside)
    except TooLarge:
        raise
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise Unreadable(str(error)) from None


def _packed(value: Any, depth: int, left: list[int], outside: Callable[[Any], list[Any]]) -> Any:
    left[0] -= 1
    if left[0] < 0:
        raise TooLarge
    if depth == 0:
        raise Unreadable
    if value is None:
        return None
    kind = type(value)
    # the type is asked, not the object: `__class__` and `__instancecheck__` can lie
    for plain, pack in _ATOMS:
        if issubclass(kind, plain):
            return pack(value)
    for plain, tag, items in _CONTAINERS:
        if issubclass(kind, plain):
            return [tag, *[_packed(item, depth - 1, left, outside) for item in items(value)]]
    numpy = sys.modules.get("numpy")
    for name, plain in _NUMPYS:
        theirs = getattr(numpy, name, None)
        if isinstance(theirs, type) and issubclass(kind, theirs):
            return _packed(plain(value), depth - 1, left, outside)
    return outside(value)


def _packed_int(value: int) -> Any:
    value = int.__add__(value, 0)
    return value if -_SMALL_INT < value < _SMALL_INT else ["i", hex(value)]


def _packed_float(value: float) -> Any:
    value = float.__float__(value)
    return value if math.isfinite(value) else ["n", repr(value)]


def _pairs(value: dict[Any, Any]) -> list[Any]:
    return [part for pair in list(dict.items(value)) for part in pair]


_ATOMS: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (bool, lambda value: value),
    (int, _packed_int),
    (str, str.__str__),
    (float, _packed_float),
    (complex, lambda value: ["c", complex.__repr__(complex.__add__(value, 0j))]),
    (bytes, lambda value: ["b", bytes.hex(value)]),
    (bytearray, lambda value: ["a", bytearray.hex(value)]),
)
_NUMPYS = (("bool_", bool), ("integer", int), ("floating", float))
"""numpy's types, and the plain types that they count as. Only some images have numpy, and no code
of ours imports it: a program that returns such a number has imported it."""
_CONTAINERS: tuple[tuple[type, str, Callable[[Any], Any]], ...] = (
    (list, "l", list.__iter__),
    (tuple, "t", tuple.__iter__),
    (set, "s", set.__iter__),
    (frozenset, "f", frozenset.__iter__),
    (dict, "d", _pairs),
)


def _unpacked(
    packed: Any, depth: int, probes: list[int], outside: Mapping[str, Callable[..., Any]]
) -> Any:
    if depth == 0 or isinstance(packed, dict):
        raise Unreadable
    if not isinstance(packed, list):
        return packed
    tag, *parts = packed
    if tag in _TEXTS:
        (text,) = parts
        if not isinstance(text, str):
            raise Unreadable
        return _TEXTS[tag](text)
    if tag in outside:
        return outside[tag](*parts)
    return _MAKERS[tag]([_unpacked(part, depth - 1, probes, outside) for part in parts], probes)


def _hashed(keys: list[Any], probes: list[int]) -> list[Any]:
    """Return keys that a set takes in reasonable time. Raises `TooLarge`.

    Hashes of numbers are no secret: a hundred thousand that share one would block the interpreter,
    with every other thread, for minutes.
    """
    if len(keys) > _FEW_KEYS:
        probes[0] -= sum(count * count for count in Counter(map(hash, keys)).values())
        if probes[0] < 0:
            raise TooLarge
    return keys


def _dict(parts: list[Any], probes: list[int]) -> dict[Any, Any]:
    return dict(zip(_hashed(parts[::2], probes), parts[1::2], strict=True))


_TEXTS: dict[str, Callable[[str], Any]] = {
    "i": lambda digits: int(digits, 16),
    "n": float,
    "c": complex,
    "q": _from_ratio,
    "b": bytes.fromhex,
    "a": bytearray.fromhex,
    "o": Opaque,
}
_MAKERS: dict[str, Callable[[list[Any], list[int]], Any]] = {
    "l": lambda parts, _: parts,
    "t": lambda parts, _: tuple(parts),
    "s": lambda parts, probes: set(_hashed(parts, probes)),
    "f": lambda parts, probes: frozenset(_hashed(parts, probes)),
    "d": _dict,
}
