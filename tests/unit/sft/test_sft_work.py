"""The working folder of a warm start: what is gone on from, what is refused, what is removed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError, RunError
from stepcoder_dist.records import SftExample
from stepcoder_dist.sft import work as sft_work
from stepcoder_dist.sft.examples import SftExamples
from stepcoder_dist.sft.work import SftWork


def config(folder: Path, **sft: object) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "warm",
            "model": {"path": "m", "sft_path": str(folder / "sft")},
            "problems": {"train": "t", "heldout": "h"},
            "sft": sft,
        }
    )


def examples(token: int = 7) -> SftExamples:
    ids = np.array([1, token], dtype=np.int32)
    return SftExamples(phases=((SftExample(prompt_ids=ids[:1], completion_ids=ids[1:]),),))


def stopped(folder: Path, updates: int = 3) -> Path:
    """A warm start that got two updates beyond its checkpoint of `updates`."""
    work = SftWork(config(folder), examples())
    work.begin()
    for step in range(updates + 3):
        if step in {2, updates}:
            draft = work.draft(step)
            (draft / "learner").mkdir()
            (draft / "learner" / "weights").write_text(str(step))
            work.commit(draft, step)
        work.record({"step": step, "loss": 1.0})
    work.draft(updates + 2)
    work.close()
    return work.path


def test_a_resumed_warm_start_goes_on_at_its_only_checkpoint_without_the_rows_beyond_it(
    tmp_path: Path,
) -> None:
    path = stopped(tmp_path)
    assert sorted(p.name for p in (path / "checkpoints").iterdir()) == [
        ".step_000005",
        "step_000003",
    ]
    sft_work.refuse_without_checkpoint(config(tmp_path))

    work = SftWork(config(tmp_path), examples())
    work.resume()

    assert work.updates == 3
    assert work.resumed is not None
    assert (work.resumed / "weights").read_text() == "3"
    assert [row["step"] for row in work.rows()] == [0, 1, 2, 3]
    assert [p.name for p in (path / "checkpoints").iterdir()] == ["step_000003"]


def test_other_settings_or_examples_are_refused_by_name(tmp_path: Path) -> None:
    stopped(tmp_path)

    with pytest.raises(ConfigError, match=r"sft.learning_rate = 2e-05 there, 1.0 here; set it"):
        SftWork(config(tmp_path, learning_rate=1.0), examples()).resume()
    with pytest.raises(ConfigError, match=r"examples \(SHA-256 of their tokens\)"):
        SftWork(config(tmp_path), examples(token=8)).resume()
    SftWork(config(tmp_path, microbatch_samples=1, checkpoint_every=5), examples()).resume()


def test_an_unfinished_warm_start_is_not_overwritten(tmp_path: Path) -> None:
    sft_work.refuse_unfinished(config(tmp_path))
    stopped(tmp_path)

    with pytest.raises(ConfigError, match=r"with 3 updates; continue with `stepcoder sft RUN"):
        sft_work.refuse_unfinished(config(tmp_path))


def test_without_a_checkpoint_there_is_nothing_to_resume_and_nothing_left(tmp_path: Path) -> None:
    work = SftWork(config(tmp_path), examples())
    work.begin()
    work.record({"step": 1, "loss": 1.0})
    work.close()

    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="no checkpoint of a warm start to resume"):
        sft_work.refuse_without_checkpoint(config(tmp_path))


def test_a_damaged_checkpoint_is_one_line(tmp_path: Path) -> None:
    path = stopped(tmp_path)
    (path / "checkpoints/step_000003/state.json").write_text("{")

    with pytest.raises(ConfigError, match=r"state.json is damaged .*; remove .* to start again"):
        SftWork(config(tmp_path), examples()).resume()


def test_a_checkpoint_that_the_ranks_wrote_elsewhere_does_not_count(tmp_path: Path) -> None:
    work = SftWork(config(tmp_path), examples())
    work.begin()

    with pytest.raises(RunError, match="a file system that all nodes share"):
        work.commit(work.draft(1), 1)


def test_the_finished_folder_gets_the_rows(tmp_path: Path) -> None:
    (tmp_path / "sft").mkdir()
    work = SftWork(config(tmp_path), examples())
    work.begin()
    work.record({"step": 1, "loss": 1.0})

    work.finish(tmp_path / "sft")

    assert json.loads((tmp_path / "sft/metrics.jsonl").read_text()) == {"step": 1, "loss": 1.0}
    assert [path.name for path in tmp_path.iterdir()] == ["sft"]


def test_a_finished_warm_start_is_taken_again_only_as_it_was_made(tmp_path: Path) -> None:
    settings = config(tmp_path)
    sft_work.refuse_made_otherwise(settings, examples())  # a model from elsewhere has no record
    work = SftWork(settings, examples())
    work.begin()
    work.record({"step": 1, "loss": 1.0})
    Path(settings.sft_folder).mkdir()
    work.finish(Path(settings.sft_folder))

    sft_work.refuse_made_otherwise(settings, examples())
    with pytest.raises(ConfigError, match=r"sft.learning_rate = 2e-05 there, 1.0 here; set it"):
        sft_work.refuse_made_otherwise(config(tmp_path, learning_rate=1.0), examples())
    with pytest.raises(ConfigError, match=r"examples \(SHA-256 of their tokens\)"):
        sft_work.refuse_made_otherwise(settings, examples(token=8))
