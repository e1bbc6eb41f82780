"""A machine so busy that a child gets no processor to start on."""

from __future__ import annotations

import dataclasses

import pytest

from sandbox import judging
from sandbox.guest.layout import Killed, Phase, RunOrder
from sandbox.guest_link import RunReport
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import SandboxFault
from stepcoder_dist.records import TestSuite


def test_a_child_that_never_started_on_a_busy_machine_is_tried_in_quiet_before_it_is_a_fault():
    quiet_runs: list[bool] = []

    def run(order: RunOrder, _blobs: list[bytes], *, quiet: bool = False) -> RunReport:
        quiet_runs.append(quiet)
        return dataclasses.replace(
            RunReport.lost_for_memory(order),
            killed=Killed.WALL,
            phase=Phase.STARTING,
            wall_ns=1000,
            waited_ns=900,
        )

    with pytest.raises(SandboxFault, match="never started"):
        judging.judge(
            run, "print(1)\n", TestSuite(inputs=("",), outputs=("1\n",)), SandboxConfig().limits
        )
    assert quiet_runs == [False, True]
