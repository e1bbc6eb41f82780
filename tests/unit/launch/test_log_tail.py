"""The end of a worker's log as a user reads it."""

from __future__ import annotations

import os
from pathlib import Path

from stepcoder_dist.launch.cluster.last_words import tail


def test_marks_of_ray_colours_and_empty_lines_are_left_out(tmp_path: Path):
    (tmp_path / "worker-ab-01-77.err").write_text(
        ":job_id:01\n:actor_name:Rank\n\x1b[33mone\x1b[0m\n\n  two\tthree\r\n"
    )
    assert tail(77, tmp_path) == ["one", "  two three"]


def test_the_newest_process_of_that_number_is_meant_and_no_other(tmp_path: Path):
    older, newer = tmp_path / "worker-zz-01-77.err", tmp_path / "worker-aa-01-77.err"
    for log, words in ((older, "older"), (newer, "newer"), (tmp_path / "worker-x-01-177.err", "")):
        log.write_text(words)
    os.utime(older, (1, 1))
    assert tail(77, tmp_path) == ["newer"]
    assert tail(78, tmp_path) == []


def test_a_long_log_is_read_from_its_end_and_long_lines_are_cut(tmp_path: Path):
    lines = [f"{n} " + "x" * 1000 for n in range(500)]
    (tmp_path / "worker-ab-01-77.err").write_text("\n".join(lines))
    found = tail(77, tmp_path)
    assert [line.split()[0] for line in found] == [str(n) for n in range(485, 500)]
    assert {len(line) for line in found} == {300}
