"""The compiled filter, interpreted instruction by instruction, decides as the profile says."""

from __future__ import annotations

import struct

import pytest

from sandbox.confinement import seccomp_filter

ALLOW, KILL = 0x7FFF0000, 0x80000000
X86_64, AARCH64, I386 = 0xC000003E, 0xC00000B7, 0x40000003


def error(number: int) -> int:
    return 0x00050000 | number


def decide(program: bytes, number: int, *arguments: int, architecture: int = X86_64) -> int:
    """What the kernel's interpreter returns: the five kinds of instruction that a filter uses."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *(*arguments, *[0] * 6)[:6])
    steps = list(struct.iter_unpack("<HBBI", program))
    accumulator, at = 0, 0
    while True:
        code, true, false, operand = steps[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif code == 0x54:
            accumulator &= operand
        elif code == 0x06:
            return operand
        else:
            holds = {
                0x15: accumulator == operand,
                0x25: accumulator > operand,
                0x35: accumulator >= operand,
            }[code]
            at += true if holds else false


@pytest.fixture(scope="module")
def profile() -> bytes:
    return seccomp_filter.compiled(machine="x86_64")


@pytest.mark.parametrize(
    ("number", "decision"),
    [
        (0, ALLOW),  # read
        (59, ALLOW),  # execve
        (435, error(38)),  # clone3: as on a kernel that has none
        (162, error(0)),  # sync: without effect
        (101, error(1)),  # ptrace
        (321, error(1)),  # bpf
        (272, error(1)),  # unshare
        (425, error(1)),  # io_uring_setup
        (9999, error(1)),
        (0x40000000, error(1)),  # read of the second set of calls
    ],
)
def test_calls_without_conditions_are_decided_by_their_number(profile, number, decision):
    assert decide(profile, number) == decision


def test_namespaces_are_refused_in_clone_and_threads_are_not(profile):
    assert decide(profile, 56, 0x3D0F00) == ALLOW
    assert decide(profile, 56, 0x10000000 | 17) == error(1)
    assert decide(profile, 56, 0x40000000 | 17) == error(1)


@pytest.mark.parametrize(
    ("socket", "decision"),
    [
        ((1, 5, 0), ALLOW),  # unix
        ((2, 1, 0), ALLOW),  # TCP
        ((2, 1 | 0x80000, 6), ALLOW),  # with SOCK_CLOEXEC
        ((10, 2, 17), ALLOW),  # UDP over IPv6
        ((2, 3, 1), error(1)),  # raw
        ((2, 1, 132), error(1)),  # SCTP
        ((16, 3, 0), error(1)),  # netlink
        ((2 | 2**32, 1, 0), error(1)),  # the upper half counts
    ],
)
def test_sockets_are_decided_by_family_kind_and_protocol(profile, socket, decision):
    assert decide(profile, 41, *socket) == decision


def test_the_numbers_of_another_kernel_kill(profile):
    assert decide(profile, 20, architecture=I386) == KILL
    other = seccomp_filter.compiled(machine="aarch64")
    assert decide(other, 63, architecture=AARCH64) == ALLOW  # read
    assert decide(other, 117, architecture=AARCH64) == error(1)  # ptrace
    assert decide(other, 63, architecture=X86_64) == KILL


def test_a_place_of_one_user_lets_nobody_limit_another():
    narrow = seccomp_filter.compiled(machine="x86_64", instead=seccomp_filter.ONLY_OF_ITSELF)
    prlimit64, setpriority = 302, 141
    assert decide(narrow, prlimit64, 0, 7) == ALLOW
    assert decide(narrow, prlimit64, 1, 7) == error(1)
    assert decide(narrow, setpriority, 0, 0, 19) == ALLOW
    assert decide(narrow, setpriority, 0, 1, 19) == error(1)
    assert decide(narrow, 0) == ALLOW


def test_it_is_short_enough_for_the_kernel(profile):
    assert len(profile) % 8 == 0
    assert len(profile) // 8 <= 4096


def test_an_unknown_processor_is_named():
    with pytest.raises(ValueError, match="no system calls are known for riscv64"):
        seccomp_filter.compiled(machine="riscv64")
