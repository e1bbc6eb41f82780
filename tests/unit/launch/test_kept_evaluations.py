"""The demo's evaluations: which of them `--resume` does not make again."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepcoder_dist.config import RunConfig
from stepcoder_dist.evaluation.evaluated_sample import EvaluatedSample
from stepcoder_dist.launch import kept_evaluations
from stepcoder_dist.records import Outcome, Problem, TestSuite
from stepcoder_dist.run.run_folder import RunFolder

TESTS = TestSuite(inputs=("1\n",), outputs=("1\n",))


def problem(name: str, tests: TestSuite = TESTS) -> Problem:
    return Problem(problem_id=name, statement=name, reference="", level="interview", tests=tests)


def sample(name: str) -> EvaluatedSample:
    return EvaluatedSample(
        sample_id=f"eval/{name}/0000",
        problem_id=name,
        level="interview",
        source="print(1)\n",
        outcome=Outcome.PASSED,
        tests_passed=1,
        tests_total=1,
        executed_share=1.0,
    )


def config(run_dir: Path, **more: object) -> RunConfig:
    tree = {"name": "d", "model": {"path": "m"}, "problems": {"train": "t", "heldout": "h"}}
    return RunConfig.model_validate(tree | {"run_dir": str(run_dir)} | more)


def weights(folder: Path, content: bytes = b"w") -> str:
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(content)
    return str(folder)


@pytest.fixture
def done(tmp_path: Path) -> RunFolder:
    """Both evaluations are there."""
    settings = config(tmp_path / "run")
    folder = RunFolder(tmp_path / "run", settings)
    made_from = kept_evaluations.identities(
        settings, [problem("t")], [problem("h")], weights(tmp_path / "sft")
    )
    for label in kept_evaluations.LABELS:
        kept_evaluations.write(folder, label, [sample("h")], made_from[label])
    return folder


def kept(done: RunFolder, settings: RunConfig, train: str = "t", heldout: str = "h") -> list[str]:
    sft = str(done.path.parent / "sft")
    made_from = kept_evaluations.identities(settings, [problem(train)], [problem(heldout)], sft)
    return list(kept_evaluations.read(done, made_from))


def test_both_are_kept_where_nothing_has_changed(done: RunFolder):
    settings = config(done.path)
    assert kept(done, settings) == ["SFT", "RL"]
    assert kept(done, config(done.path, train={"checkpoint_every": 3})) == ["SFT", "RL"]


def test_what_only_rl_depends_on_leaves_the_evaluation_before_it(done: RunFolder):
    assert kept(done, config(done.path, train={"steps": 7})) == ["SFT"]
    assert kept(done, config(done.path), train="other") == ["SFT"]


def test_other_held_out_problems_weights_or_sampling_leave_none(done: RunFolder):
    assert kept(done, config(done.path), heldout="other") == []
    assert kept(done, config(done.path, evaluation={"temperature": 0.5})) == []
    weights(done.path.parent / "sft", b"others")
    assert kept(done, config(done.path)) == []


def test_an_evaluation_that_was_interrupted_while_it_was_written_is_made_again(done: RunFolder):
    (done.path / "eval" / "rl.made_from.json").unlink()
    assert kept(done, config(done.path)) == ["SFT"]
    (done.path / "eval" / "sft.jsonl").unlink()
    assert kept(done, config(done.path)) == []
