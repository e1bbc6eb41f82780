"""Too many faults in a row."""

from __future__ import annotations

import pytest

from stepcoder_dist.host.fault_streak import FaultStreak


def make_streak() -> FaultStreak:
    return FaultStreak(3, lambda n, last: RuntimeError(f"{n} were lost, the last to: {last}"))


def test_the_last_of_so_many_faults_in_a_row_ends_it_with_the_callers_words():
    streak, last = make_streak(), OSError("no answer")
    streak.fault(OSError("slow"))
    streak.fault(OSError("slower"))
    with pytest.raises(RuntimeError, match=r"^3 were lost, the last to: no answer$") as error:
        streak.fault(last)
    assert error.value.__cause__ is last


def test_a_success_between_them_begins_the_count_again():
    streak = make_streak()
    for _ in range(5):
        streak.fault(OSError("slow"))
        streak.fault(OSError("slow"))
        assert streak.length == 2
        streak.success()
        assert streak.length == 0
