"""`seccomp.json` as the kernel takes it: a program of classic BPF for `SECCOMP_SET_MODE_FILTER`.

A container engine compiles the profile itself. bubblewrap takes a compiled filter, and so does the
kernel from a zygote. An instruction is eight bytes (u16 code, u8 jt, u8 jf, u32 k), as in
seccomp(2) and linux/filter.h; the numbers of system calls are those of the kernel's headers.
"""

from __future__ import annotations

import json
import platform
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

_INSTRUCTION = struct.Struct("<HBBI")
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_IF_EQUAL, _IF_GREATER, _IF_AT_LEAST = 0x15, 0x25, 0x35
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Offsets in the kernel's `struct seccomp_data`."""

_ALLOW, _ERROR, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_AUDIT_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000
"""Numbers from here on are a second set of calls on x86-64, which no rule was written for."""
_LOW = 0xFFFFFFFF

Step = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand."""


@dataclass(frozen=True, slots=True)
class _Rule:
    number: int
    action: int
    conditions: tuple[tuple[int, int, int], ...]
    """(argument's index, mask, value): all must hold."""


def compiled(
    *,
    machine: str | None = None,
    instead: Sequence[dict[str, Any]] = (),
) -> bytes:
    """Return the profile for a processor, by default this machine's.

    `instead`: rules in the form of the profile's, which replace all that it says of their calls.
    Raises `ValueError` for a processor that the profile does not know.
    """
    machine = machine or platform.machine()
    if machine not in _AUDIT_ARCHITECTURES:
        raise ValueError(f"no system calls are known for {machine}; known: x86_64, aarch64")
    profile = _resource("sandbox", "seccomp.json")
    numbers = _resource("sandbox.confinement", "syscall_numbers.json")[machine]
    replaced = {name for rule in instead for name in rule["names"]}
    rules = [
        made
        for rule in (*_without(profile["syscalls"], replaced), *instead)
        for made in _rules(rule, numbers)
    ]
    default = _ERROR | profile["defaultErrnoRet"]
    steps = [*_entry(_AUDIT_ARCHITECTURES[machine], default), *_decisions(rules, default)]
    return b"".join(_INSTRUCTION.pack(*step) for step in steps)


def _resource(package: str, name: str) -> dict[str, Any]:
    text = resources.files(package).joinpath(name).read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def _without(rules: Sequence[dict[str, Any]], names: set[str]) -> Iterator[dict[str, Any]]:
    for rule in rules:
        yield {**rule, "names": [name for name in rule["names"] if name not in names]}


def _rules(rule: dict[str, Any], numbers: dict[str, int]) -> Iterator[_Rule]:
    """Yield a rule for each of its calls that this processor has."""
    allowed = rule["action"] == "SCMP_ACT_ALLOW"
    action = _ALLOW if allowed else _ERROR | rule.get("errnoRet", 1)
    conditions = tuple(_condition(argument) for argument in rule.get("args", ()))
    for name in rule["names"]:
        if name in numbers:
            yield _Rule(numbers[name], action, conditions)


def _condition(argument: dict[str, Any]) -> tuple[int, int, int]:
    """As (index, mask, value). Raises `ValueError` for a comparison that the profile has not."""
    if argument["op"] == "SCMP_CMP_EQ":
        return argument["index"], 2**64 - 1, argument["value"]
    if argument["op"] == "SCMP_CMP_MASKED_EQ":
        return argument["index"], argument["value"], argument["valueTwo"]
    raise ValueError(f"{argument['op']} cannot be compiled")


def _entry(architecture: int, default: int) -> Iterator[Step]:
    """Whoever speaks with the numbers of another kernel is killed, or refused."""
    yield _LOAD, 0, 0, _ARCHITECTURE
    yield _IF_EQUAL, 1, 0, architecture
    yield _RETURN, 0, 0, _KILL_PROCESS
    yield _LOAD, 0, 0, _NUMBER
    yield _IF_AT_LEAST, 0, 1, _X32
    yield _RETURN, 0, 0, default


def _decisions(rules: list[_Rule], default: int) -> Iterator[Step]:
    """The number is loaded; numbers without a condition come first, in ranges."""
    plain: dict[int, list[int]] = {}
    for rule in rules:
        if not rule.conditions:
            plain.setdefault(rule.action, []).append(rule.number)
    for action, numbers in plain.items():
        for low, high in _ranges(numbers):
            yield _IF_AT_LEAST, 0, 2, low
            yield _IF_GREATER, 1, 0, high
            yield _RETURN, 0, 0, action
    for rule in rules:
        if rule.conditions:
            yield from _conditional(rule)
    yield _RETURN, 0, 0, default


def _ranges(numbers: list[int]) -> Iterator[tuple[int, int]]:
    ordered = sorted(set(numbers))
    low = high = ordered[0]
    for number in ordered[1:]:
        if number != high + 1:
            yield low, high
            low = number
        high = number
    yield low, high


def _conditional(rule: _Rule) -> list[Step]:
    """One rule with conditions; where one does not hold, the number is loaded again."""
    checks: list[Step] = []
    for index, mask, value in rule.conditions:
        for half, shift in ((0, 0), (4, 32)):  # both machines are little-endian
            part = mask >> shift & _LOW
            if not part:
                continue
            checks.append((_LOAD, 0, 0, _ARGUMENTS + 8 * index + half))
            if part != _LOW:
                checks.append((_AND, 0, 0, part))
            checks.append((_IF_EQUAL, 0, 0, value >> shift & _LOW))
    steps: list[Step] = [(_IF_EQUAL, 0, len(checks) + 2, rule.number)]
    for at, (code, _, _, operand) in enumerate(checks):
        # past the checks that follow and the return, to where the number is loaded again
        miss = len(checks) - at if code == _IF_EQUAL else 0
        steps.append((code, 0, miss, operand))
    return [*steps, (_RETURN, 0, 0, rule.action), (_LOAD, 0, 0, _NUMBER)]


NO_SOCKETS_BUT_PAIRS: tuple[dict[str, Any], ...] = (
    {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": []},
    {
        "names": ["socketpair"],
        "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "value": 1, "valueTwo": 0, "op": "SCMP_CMP_EQ"}],
    },
)
"""For a place whose network is not its own: nothing but pairs of Unix sockets."""

ONLY_OF_ITSELF: tuple[dict[str, Any], ...] = tuple(
    {
        "names": names,
        "action": "SCMP_ACT_ALLOW",
        "args": [{"index": index, "value": 0, "valueTwo": 0, "op": "SCMP_CMP_EQ"}],
    }
    for index, names in (
        (
            0,
            [
                "prlimit64",
                "sched_setaffinity",
                "sched_setattr",
                "sched_setparam",
                "sched_setscheduler",
            ],
        ),
        (1, ["setpriority"]),
    )
)
"""For a place whose zygote has the same user as its children: they set limits and priorities of
nobody but themselves."""
