"""What a program prints in a container, told outright: nothing is compared."""

from __future__ import annotations

from sandbox.orders import order_for, pack_program
from sandbox.seat import Worker
from stepcoder_dist.records import Limits


def printed(container: Worker, source: str, limits: Limits, stdin: str = "") -> str:
    """Standard output of one run; the program must come to a good end."""
    blobs = [pack_program(source, "", None, describe="", share=False), stdin.encode()]
    report = container.run(order_for(limits, blobs, lines=source.count("\n") + 1), blobs)
    assert report.status == 0, report.records
    return (report.answers[0] or b"").decode()
