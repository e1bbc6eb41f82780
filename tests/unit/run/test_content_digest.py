"""The same name with other content is something else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from stepcoder_dist.problems import ladder
from stepcoder_dist.run import digests


def test_another_test_another_statement_and_another_order_show() -> None:
    first, second = ladder.problems("train", count=2)
    digest = digests.of_problems([first, second])
    assert digest == digests.of_problems(ladder.problems("train", count=2))
    tests = dataclasses.replace(first.tests, inputs=first.tests.inputs[::-1])
    others = [
        [second, first],
        [dataclasses.replace(first, statement=first.statement + " "), second],
        [dataclasses.replace(first, tests=tests), second],
        [first],
    ]
    assert digest not in [digests.of_problems(other) for other in others]


def test_weights_that_are_no_files_here_have_no_digest(tmp_path: Path) -> None:
    assert digests.of_weights(tmp_path / "organisation" / "model") == ""
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    one = digests.of_weights(tmp_path)
    weights.write_bytes(b"two")
    assert "" != one != digests.of_weights(tmp_path)
