"""What a program prints in a container, told outright: nothing is compared."""

from __future__ import annotations

from sandbox.container import Container
from sandbox.guest.layout import Order
from sandbox.guest_link import pack_program
from stepcoder_dist.records import Limits


def printed(container: Container, source: str, limits: Limits, stdin: str = "") -> str:
    """Standard output of one run; the program must come to a good end."""
    blobs = [pack_program(source, "", None, describe="", share=False), stdin.encode()]
    order = Order(
        sizes=[len(blob) for blob in blobs],
        lines=source.count("\n") + 1,
        cpu_s=limits.cpu_s,
        wall_s=limits.wall_s,
        memory_bytes=limits.memory_bytes,
        output_bytes=limits.output_bytes,
        processes=limits.processes,
        large_stacks=False,
    )
    report = container.run(order, blobs)
    assert report.status == 0, report.records
    return (report.answers[0] or b"").decode()
