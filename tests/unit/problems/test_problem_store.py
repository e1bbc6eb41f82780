"""Problems by id, on disk but for the last used."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from stepcoder_dist.errors import ProblemError, RunError
from stepcoder_dist.problems.store import ProblemStore, read_problems
from stepcoder_dist.records import Problem, TestSuite


def problem(name: str, size: int = 10) -> Problem:
    suite = TestSuite(inputs=([(1, 2)],), outputs=({3: "x" * size},), fn_name="f")
    return Problem(problem_id=name, statement="", reference="", level="interview", tests=suite)


def test_a_problem_comes_back_as_it_was_whether_it_is_at_hand_or_on_disk():
    entries = {f"a/{n}": problem(f"a/{n}", size=1000) for n in range(20)}
    for at_hand_bytes in (0, 5000, 10**9):
        with ProblemStore(at_hand_bytes=at_hand_bytes) as store:
            for name, entry in entries.items():
                assert store.add(name, entry)
            assert dict(store) == entries
            assert list(store) == list(entries)
            assert len(store) == 20
            assert store.get("a/20") is None


def test_only_so_many_bytes_are_at_hand_and_those_used_last_are():
    with ProblemStore(at_hand_bytes=5000) as store:
        for n in range(20):
            store.add(f"a/{n}", problem(f"a/{n}", size=1000))
        assert list(store._at_hand) == ["a/16", "a/17", "a/18", "a/19"]
        assert store["a/3"].problem_id == "a/3"
        assert store["a/18"] is store["a/18"]
        assert list(store._at_hand) == ["a/17", "a/19", "a/3", "a/18"]


def test_an_entry_larger_than_all_that_may_be_at_hand_can_still_be_used():
    with ProblemStore(at_hand_bytes=10) as store:
        store.add("a/1", problem("a/1", size=1000))
        assert store["a/1"] == problem("a/1", size=1000)


def test_of_an_id_that_stands_twice_the_first_counts():
    with ProblemStore() as store:
        assert store.add("a/1", problem("a/1", size=1))
        assert not store.add("a/1", problem("a/1", size=2))
        assert store["a/1"] == problem("a/1", size=1)


def test_an_id_may_be_any_text_that_json_can_hold():
    with ProblemStore() as store:
        store.add("a/\udc80\0", problem("a/1"))
        assert list(store) == ["a/\udc80\0"]
        assert "a/\udc80\0" in store
        assert "a/\ud800" not in store


def test_a_full_disk_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch):
    class Full:
        def execute(self, *_):
            raise sqlite3.OperationalError("database or disk is full")

    store = ProblemStore()
    monkeypatch.setattr(store, "_database", Full())
    with pytest.raises(RunError, match=r"'a/1'.*disk is full.*SQLITE_TMPDIR"):
        store.add("a/1", problem("a/1"))


def test_bad_rows_are_in_the_store_as_errors_that_hold_nothing_of_the_row(tmp_path: Path):
    path = tmp_path / "p.jsonl"
    good = {"problem_id": "t/1", "inputs": ["1\n"], "outputs": ["2\n"], "fn_name": None}
    bad = {**good, "problem_id": "t/2", "outputs": []}
    path.write_text("not JSON\n" + json.dumps(bad) + "\n" + json.dumps(good) + "\n")
    with read_problems(path) as store:
        assert list(store) == ["t/2", "t/1"]
        assert isinstance(store["t/1"], Problem)
        assert str(store["t/2"]).startswith(f"{path}:2: 1 input but 0 outputs")
        assert store["t/2"].__traceback__ is None
    path.write_text("not JSON\n")
    with pytest.raises(ProblemError, match=":1: not valid JSON"):
        read_problems(path)
    path.write_text("\n")
    with pytest.raises(ProblemError, match="holds no problems"):
        read_problems(path)


def test_an_id_whose_rows_differ_is_an_error_and_one_that_is_repeated_is_not(tmp_path: Path):
    row = {"problem_id": "t/1", "inputs": ["1\n"], "outputs": ["2\n"], "fn_name": None}
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for _ in range(2)))
    with read_problems(path) as store:
        assert isinstance(store["t/1"], Problem)
    path.write_text("".join(json.dumps(row | {"outputs": [o]}) + "\n" for o in "23"))
    with read_problems(path) as store:
        assert str(store["t/1"]) == f"{path}:2: the id 't/1' has an earlier row that differs"
