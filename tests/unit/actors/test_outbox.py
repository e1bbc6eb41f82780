"""What carries completions out of an engine: those of a step together, nothing held back."""

from __future__ import annotations

from typing import Any

from actors.shares import Outbox

ERROR = RuntimeError("the engine broke")


def outbox(size: int) -> tuple[Outbox, list[Any], set[Outbox]]:
    sent: list[Any] = []
    full: set[Outbox] = set()
    return Outbox(size, sent.append, full), sent, full


def test_completions_are_kept_until_the_step_is_over():
    box, sent, full = outbox(4)
    box.put("a")
    box.put("b")
    assert (sent, full) == ([], {box})
    box.empty()
    assert (sent, full) == ([["a", "b"]], set())
    box.empty()
    assert sent == [["a", "b"]]


def test_the_last_one_of_a_share_waits_for_no_step():
    box, sent, full = outbox(2)
    box.put("a")
    box.put("b")
    assert (sent, full) == ([["a", "b"]], set())


def test_an_error_goes_at_once_behind_what_had_ended():
    box, sent, full = outbox(3)
    box.put("a")
    box.put(ERROR)
    assert (sent, full) == ([["a"], ERROR], set())
