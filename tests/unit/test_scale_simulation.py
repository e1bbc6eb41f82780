"""benchmarks/scale_simulation.py drives the real loops and pools, on a clock that jumps."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("ray")

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
try:
    import scale_simulation
finally:
    sys.path.pop(0)


@pytest.fixture
def marks(monkeypatch):
    """Two actors with 32 places, 8 sandbox slots, 12 steps; it ends only with a ledger that
    balances."""
    monkeypatch.setattr(scale_simulation, "PROBLEMS", 16)
    profile = scale_simulation.StackSampler()
    return scale_simulation.measured(2, 100, scale_simulation.SimulatedClockLoop, profile)


def test_every_step_is_trained_and_the_engines_set_the_pace(marks):
    assert marks.trained == 12 * 64
    begin, end = marks.ends
    assert end.trained - begin.trained == 2 * 64
    offered = 2 * 16 / 3.2
    _, _, simulated = scale_simulation.rates(marks)
    assert simulated == pytest.approx(offered, rel=0.5)
    assert marks.profile.number == sum(marks.profile.own.values())
