"""Save, load, and what is refused; one rank, so that the arithmetic is the same bit for bit."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from learner_batches import run_config, trajectories

from learner.learner_group import LearnerGroup
from stepcoder_dist.errors import LearnerError, UserError

pytestmark = [pytest.mark.ray, pytest.mark.deepspeed]

PROBE = [5, 17, 40, 3, 99, 250, 8]


@pytest.fixture(scope="module")
def one_rank(local_ray: None, tiny_checkpoint: Path) -> Iterator[LearnerGroup]:
    """ZeRO-2 on one rank with minibatches, epochs, a KL penalty and a temperature."""
    del local_ray
    layout = {"zero_stage": 2, "epochs": 2, "kl_beta": 0.1, "minibatch_samples": 2}
    learner = LearnerGroup(
        run_config(learner=layout | {"samples_per_step": 6}), str(tiny_checkpoint)
    )
    asyncio.run(learner.start())
    yield learner
    asyncio.run(learner.close())


def test_a_loaded_checkpoint_goes_on_bitwise(one_rank: LearnerGroup, tmp_path: Path) -> None:
    async def scenario() -> None:
        first = trajectories(6, seed=3, temperature=0.8)
        then = trajectories(6, seed=4, temperature=0.8)
        await one_rank.step(first)
        await one_rank.save(str(tmp_path / "step"))
        straight = await one_rank.step(then)
        probe = await one_rank.probe_logprobs(PROBE)

        assert await one_rank.load(str(tmp_path / "step")) == straight.version - 1
        again = await one_rank.step(then)

        assert await one_rank.probe_logprobs(PROBE) == probe
        del straight.metrics["learner_tokens_per_s"], again.metrics["learner_tokens_per_s"]
        assert again == straight

    asyncio.run(scenario())


def test_a_step_runs_while_the_rank_writes_and_a_write_that_fails_names_the_folder(
    one_rank: LearnerGroup, tmp_path: Path
) -> None:
    folder, draft = tmp_path / "step", tmp_path / ".step"

    async def scenario() -> None:
        writing = asyncio.ensure_future(await one_rank.begin_save(str(folder)))
        # a disk that stands still: a pipe opens when somebody reads it, and cannot be synced
        os.mkfifo(draft / "rank_0000.pt")
        await one_rank.step(trajectories(6, seed=7))
        assert not writing.done()
        with (draft / "rank_0000.pt").open("rb") as pipe:
            await asyncio.to_thread(pipe.read)
        with pytest.raises(LearnerError, match=r"/step: the checkpoint could not be written"):
            await writing
        assert not folder.exists()
        assert await one_rank.probe_logprobs(PROBE)

        await one_rank.save(str(folder))
        assert (folder / "rank_0000.pt").is_file()

    asyncio.run(scenario())


def test_a_step_without_kept_tokens_changes_the_version_only(one_rank: LearnerGroup) -> None:
    async def scenario() -> None:
        before = await one_rank.step(trajectories(6, seed=5))
        probe = await one_rank.probe_logprobs(PROBE)

        report = await one_rank.step(trajectories(6, seed=6, keep_share=0.0))

        assert report.skipped
        assert report.version == before.version + 1
        assert report.metrics["skipped_steps"] == before.metrics["skipped_steps"] + 1
        assert await one_rank.probe_logprobs(PROBE) == probe

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("truncate", r"policy/state/.* is damaged: it has \d+ bytes, the manifest says"),
        ("remove", r"rank_0000.pt is damaged: it is missing"),
        ("manifest", r"manifest.json is damaged"),
        ("foreign", r"comes from another run: model.dtype = 'bfloat16' there, 'float32' here"),
        ("elsewhere", r"is no checkpoint: it has no manifest.json"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_refused_and_nothing_changes(
    one_rank: LearnerGroup, tmp_path: Path, damage: str, message: str
) -> None:
    folder = tmp_path / "step"

    async def scenario() -> None:
        await one_rank.save(str(folder))
        probe = await one_rank.probe_logprobs(PROBE)
        if damage == "truncate":
            victim = max((folder / "policy").rglob("*.pt"), key=lambda path: path.stat().st_size)
            victim.write_bytes(victim.read_bytes()[:1000])
        elif damage == "remove":
            (folder / "rank_0000.pt").unlink()
        elif damage == "manifest":
            (folder / "manifest.json").write_text('{"version": 3')
        elif damage == "foreign":
            manifest = (folder / "manifest.json").read_text()
            manifest = manifest.replace('"model.dtype": "float32"', '"model.dtype": "bfloat16"')
            manifest = manifest.replace('"config_sha256": "', '"config_sha256": "0')
            (folder / "manifest.json").write_text(manifest)
        else:
            (folder / "manifest.json").unlink()

        with pytest.raises(UserError, match=message) as refused:
            await one_rank.load(str(folder))

        assert "\n" not in str(refused.value)
        assert await one_rank.probe_logprobs(PROBE) == probe

    asyncio.run(scenario())


def test_a_second_learner_of_the_same_job_is_refused(
    one_rank: LearnerGroup, tiny_checkpoint: Path
) -> None:
    async def scenario() -> None:
        with pytest.raises(LearnerError, match="another learner of this job still runs"):
            await LearnerGroup(run_config(), str(tiny_checkpoint)).start()
        assert await one_rank.probe_logprobs(PROBE)

    asyncio.run(scenario())
