"""What the zygote makes of the kernel's words about a run."""

from __future__ import annotations

import pytest

from sandbox.guest.sweeping import kept_waiting_ns


@pytest.mark.parametrize(
    ("processes", "kept"),
    [
        ([(100, 800)], 800),  # alone, and others had the processor
        ([(0, 0)], 0),  # it slept
        ([(50, 950)] * 20, 0),  # twenty that took all there is from one another
        ([(25, 975)] * 20, 500),  # the same, and others had half of it
        ([(0, 0), (300, 700)], 700),  # a worker that its parent waits for
    ],
)
def test_only_what_others_had_of_a_processor_counts_as_waiting(processes, kept):
    assert kept_waiting_ns(1000, processes) == kept
