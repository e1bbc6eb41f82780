"""What a zygote is asked to do: an order under the limits, and the blobs that go with it."""

from __future__ import annotations

import json
import math
from typing import Any

from sandbox.guest import plain_data
from sandbox.guest.layout import RunOrder
from stepcoder_dist.errors import ProblemError
from stepcoder_dist.records import Limits, TestSuite


def order_for(
    limits: Limits,
    blobs: list[bytes],
    *,
    lines: int = 0,
    large_stacks: bool = False,
    script: bool = False,
) -> RunOrder:
    """Return one run under these limits.

    `blobs`: the program, then one input a test; `lines`: how many of the program to trace.
    """
    return RunOrder(
        sizes=[len(blob) for blob in blobs],
        lines=lines,
        cpu_s=limits.cpu_s,
        wall_s=limits.wall_s,
        memory_bytes=limits.memory_bytes,
        output_bytes=limits.output_bytes,
        processes=limits.processes,
        large_stacks=large_stacks,
        script=script,
    )


def pack_script(script: str, setup_code: str, entry_point: str) -> bytes:
    """Return the one input of an order for an assert script."""
    spec = {"script": script, "setup_code": setup_code, "entry_point": entry_point}
    return json.dumps(spec).encode("ascii")


def pack_program(
    source: str,
    setup_code: str,
    fn_name: str | None,
    *,
    describe: str,
    share: bool,
    pause_s: float = math.inf,
    reference: str = "",
) -> bytes:
    """Return the first blob of an order.

    `describe`: "fully", "simply" or "" for not at all; `pause_s`: processor seconds after which no
    further test is begun; `reference`: a solution that the program is compared with, if it is
    described fully.
    """
    spec: dict[str, Any] = {
        "source": source,
        "setup_code": setup_code,
        "fn_name": fn_name,
        "describe": describe,
        "share": share,
        "pause_s": pause_s,
        "reference": reference,
    }
    return json.dumps(spec).encode("ascii")


def pack_inputs(tests: TestSuite) -> list[bytes]:
    """Return every input as it is sent. Raises `ProblemError`."""
    if tests.fn_name is None:
        return [text.encode("utf-8", "surrogatepass") for text in tests.inputs]
    try:
        packed = [plain_data.encode(list(arguments)) for arguments in tests.inputs]
    except (plain_data.Unreadable, plain_data.TooLarge):
        raise ProblemError("an input is too deep or too large to be sent") from None
    if any(plain_data.OPAQUE in data for data in packed):
        raise ProblemError("an input holds an object that is no plain data")
    return packed


def python_settings(hash_seed: int, int_digits: int) -> dict[str, str]:
    """Return the environment of a zygote's Python, which its children inherit."""
    return {"PYTHONHASHSEED": str(hash_seed), "PYTHONINTMAXSTRDIGITS": str(int_digits)}
