"""The same name with other content is something else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from stepcoder_dist import content_digest
from stepcoder_dist.problems import ladder


def test_another_test_another_statement_and_another_order_show() -> None:
    first, second = ladder.problems("train", count=2)
    digest = content_digest.of_problems([first, second])
    assert digest == content_digest.of_problems(ladder.problems("train", count=2))
    tests = dataclasses.replace(first.tests, inputs=first.tests.inputs[::-1])
    others = [
        [second, first],
        [dataclasses.replace(first, statement=first.statement + " "), second],
        [dataclasses.replace(first, tests=tests), second],
        [first],
    ]
    assert digest not in [content_digest.of_problems(other) for other in others]


def test_weights_that_are_no_files_here_have_no_digest(tmp_path: Path) -> None:
    assert content_digest.of_weights(tmp_path / "organisation" / "model") == ""
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    one = content_digest.of_weights(tmp_path)
    weights.write_bytes(b"two")
    assert "" != one != content_digest.of_weights(tmp_path)
