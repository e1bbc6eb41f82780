"""A disk that fills while a run writes to it: one clear error, and nothing is lost or done twice.

The disk is a file system in memory of some kibibytes. Its size says where it is full: at a
row of metrics, of samples, of the ledger, or in a checkpoint.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from runs_for_tests import Scene, config, rows

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import Interrupted, RunError
from stepcoder_dist.run import ledger_report

pytestmark = pytest.mark.faults

STEPS = 12


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a file system needs root's rights: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path))
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def resize(disk: Path, size: str) -> None:
    mount("-o", f"remount,size={size}", str(disk))


def settings(staleness: int, every: int = 1) -> RunConfig:
    return config(checkpoint_every=every, steps=STEPS, max_staleness=staleness)


def finish(folder: Path, staleness: int) -> None:
    """Resume to the last step, and see that every sample has one fate."""
    with closing(Scene(folder, settings(staleness), resume=True)) as scene:
        scene.train()
    account = ledger_report.report(folder)
    assert account.balances, account.lines
    assert [row["step"] for row in rows(folder / "metrics.jsonl")] == list(range(1, STEPS + 1))
    trained = [row["sample_id"] for row in rows(folder / "samples.jsonl")]
    assert len(set(trained)) == len(trained) == 4 * STEPS


@pytest.mark.parametrize("staleness", [0, 2])
@pytest.mark.parametrize("kib", [40, 56, 72, 88])
def test_a_run_whose_disk_fills_ends_with_its_folder_and_is_resumed_when_there_is_room(
    kib: int, staleness: int, disk: Path
):
    resize(disk, f"{kib}k")
    folder = disk / "run"
    with closing(Scene(folder, settings(staleness))) as scene:
        with pytest.raises(RunError, match=r"/run: .*\(No space left on device\); make room"):
            scene.train()
        assert 1 <= scene.run.book.version < STEPS
    resize(disk, "1m")
    finish(folder, staleness)


def test_a_stop_that_finds_the_disk_full_says_that_it_wrote_no_checkpoint(disk: Path):
    folder = disk / "run"
    with closing(Scene(folder, settings(0, every=2))) as scene:

        async def fill(version: int) -> None:
            if version == 3:
                used = sum(path.stat().st_blocks * 512 for path in disk.rglob("*"))
                resize(disk, f"{used // 1024}k")

        scene.disk = fill
        scene.at("step 3", scene.run.stop.ask)
        with pytest.raises(Interrupted, match=r"no checkpoint of step 3: .*No space left on"):
            scene.train()
    resize(disk, "1m")
    finish(folder, 0)
