"""The lines of a phase where no bar can be drawn."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from stepcoder_dist.host.console import Phase, in_words


def lines(seconds_before: float) -> list[str]:
    """What 3 of 4 units print that took so long."""
    out = io.StringIO()
    with Phase(Console(file=out, width=120), "RL", 4) as phase:
        phase._start -= seconds_before
        for _ in range(3):
            phase.advance("reward +0.5")
    return out.getvalue().splitlines()[:-1]


def test_a_phase_says_how_long_the_rest_takes_at_the_pace_so_far():
    assert lines(600) == [
        "RL: 0/4",
        "RL: 1/4 reward +0.5  30 min left",
        "RL: 2/4 reward +0.5  10 min left",
        "RL: 3/4 reward +0.5  3 min left",
    ]


def test_a_phase_of_seconds_says_nothing_of_its_end():
    assert lines(0) == ["RL: 0/4", *(f"RL: {n}/4 reward +0.5" for n in (1, 2, 3))]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5, "5 s"), (89, "89 s"), (91, "2 min"), (3599, "1 h 0 min"), (7500, "2 h 5 min")],
)
def test_a_time_has_the_units_that_a_reader_needs(seconds: float, words: str):
    assert in_words(seconds) == words
