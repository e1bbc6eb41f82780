"""What cannot be gone on with is refused by the command line: one line, exit code 2, at once."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from commands import DEMO, SMALL, sets, stepcoder

from learner.saving import manifest
from stepcoder_dist.loop.run import STATE_KEYS
from stepcoder_dist.problems import ladder
from stepcoder_dist.run import run_file
from stepcoder_dist.run.run_folder import RunFolder


class Place:
    """A run folder with checkpoints 2 and 4, as far as a driver looks at them; no process runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "run"
        self.settings: Mapping[str, object] = {
            "model.sft_path": folder / "sft",
            "sandbox.backend": "process",
            "run_dir": self.run,
            "train.steps": 6,
        }
        self.config = run_file.load(DEMO, sets(SMALL | self.settings)[1::2])
        ladder.write_tokenizer(folder / "sft")
        (folder / "sft" / "config.json").write_text("{}")
        opened = RunFolder(self.run, self.config)
        for version in (2, 4):
            draft = opened.begin_checkpoint(version)
            weights = draft / "learner" / "policy" / "weights.pt"
            weights.parent.mkdir(parents=True)
            weights.write_bytes(bytes(1000))
            files = {"policy/weights.pt": [1000, zlib.crc32(bytes(1000))]}
            manifest.write(draft / "learner", self.config, files, version=version, counters={})
            state = dict.fromkeys(STATE_KEYS) | {
                "version": version,
                "config": self.config.model_dump(mode="json"),
                "sources": {},
                "on_their_way": [],
            }
            opened.commit_checkpoint(draft, state)
        opened.close()

    @property
    def newest(self) -> Path:
        return self.run / "checkpoints" / "step_000004"

    def refused(self, *arguments: str, **changes: object) -> str:
        names = {key.replace("__", "."): value for key, value in changes.items()}
        process = stepcoder(*arguments, changes={**self.settings, **names}, cwd=self.folder)
        output, _ = process.communicate(timeout=120)
        errors = [line for line in output.splitlines() if not line.startswith("warning: ")]
        assert process.returncode == 2, output
        assert "Traceback" not in output
        (line,) = [line for line in errors if line.startswith("stepcoder: ")]
        assert errors[-1] == line
        return line


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_checkpoint_of_another_config_names_the_keys_that_differ(place: Place):
    line = place.refused(
        "train", "--resume", learner__policy_lr=0.5, reward__kind="binary", actors__number=1
    )
    assert "step_000004 comes from another config" in line
    assert "learner.policy_lr = 0.0001 there, 0.5 here" in line
    assert "reward.kind = 'tiered' there, 'binary' here" in line
    assert "actors" not in line


def truncate_weights(checkpoint: Path) -> None:
    (checkpoint / "learner" / "policy" / "weights.pt").write_bytes(bytes(100))


def remove_weights(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint / "learner" / "policy")


def truncate_state(checkpoint: Path) -> None:
    text = (checkpoint / "run.json").read_text()
    (checkpoint / "run.json").write_text(text[:50])


def forget_the_curriculum(checkpoint: Path) -> None:
    state = json.loads((checkpoint / "run.json").read_text())
    del state["curriculum"]
    (checkpoint / "run.json").write_text(json.dumps(state))


def truncate_manifest(checkpoint: Path) -> None:
    text = (checkpoint / "learner" / "manifest.json").read_text()
    (checkpoint / "learner" / "manifest.json").write_text(text[:50])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            truncate_weights,
            "weights.pt is damaged: it has 100 bytes, the manifest says 1000",
        ),
        (remove_weights, "policy/weights.pt is damaged: it is missing"),
        (truncate_state, "run.json is damaged"),
        (forget_the_curriculum, "run.json is damaged (KeyError: 'curriculum')"),
        (truncate_manifest, "manifest.json is damaged"),
    ],
)
def test_a_truncated_checkpoint_is_named_with_the_way_on(
    place: Place, damage: Callable[[Path], None], message: str
):
    damage(place.newest)
    line = place.refused("train", "--resume")
    assert message in line
    assert "to resume from the" in line


@pytest.mark.parametrize("resume", [("--resume",), ()])
def test_a_run_directory_that_a_live_run_holds_is_in_use(place: Place, resume: tuple[str, ...]):
    live = RunFolder(place.run, place.config)
    try:
        assert f"{place.run}: in use by a live run" in place.refused("train", *resume)
    finally:
        live.close()


def test_a_run_directory_with_a_run_in_it_is_not_written_over(place: Place):
    assert "already holds a run; pass --resume to continue it" in place.refused("train")


def test_a_run_whose_steps_are_done_says_so(place: Place):
    line = place.refused("train", "--resume", train__steps=4)
    assert "step 4 is done and train.steps = 4; raise it to continue" in line


def test_a_missing_model_says_how_to_get_one(place: Place):
    line = place.refused("train", model__sft_path=place.folder / "nowhere")
    assert "nowhere: no model there (no such folder); run `stepcoder sft`" in line


def test_resume_without_a_run_says_to_start_one(place: Place):
    line = place.refused("train", "--resume", run_dir=place.folder / "none")
    assert "none: no checkpoint to resume; start a new run without --resume" in line
    assert not (place.folder / "none").exists()


def test_a_warm_start_into_a_folder_that_another_writes_is_refused(place: Place):
    from stepcoder_dist.sft import folder as sft_folder

    with sft_folder.writing(place.config):
        assert f"{place.folder / 'sft'}: in use by a live run" in place.refused("sft")
        assert json.loads((place.folder / "sft" / "config.json").read_text()) == {}
