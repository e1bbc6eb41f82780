"""Two hundred random faults of all kinds in one run of a hundred steps.

`make test-faults SEED=7` has another storm. `STORM_FAULTS`, `STORM_STEPS` and `STORM_STALENESS`
make a smaller or another one.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from commands import (
    finish,
    left_in_shared_memory,
    processes_of_session,
    shared_memory,
    stepcoder,
)
from own_engine import OwnEngine
from storm import KINDS, Storm

from sandbox.containers.container import check_image, connect
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import MissingEngine
from stepcoder_dist.run import ledger_report

SEED = int(os.environ.get("STORM_SEED", "0"))
FAULTS = int(os.environ.get("STORM_FAULTS", "200"))
STEPS = int(os.environ.get("STORM_STEPS", "100"))
STALENESS = int(os.environ.get("STORM_STALENESS", "2"))

pytestmark = [
    pytest.mark.faults,
    pytest.mark.long,
    pytest.mark.ray,
    pytest.mark.vllm,
    pytest.mark.deepspeed,
    pytest.mark.docker,
    pytest.mark.timeout(900 + 60 * FAULTS + 30 * STEPS),
]


@pytest.fixture
def engine() -> Iterator[OwnEngine]:
    """An engine that may be killed: nothing but the run's containers is in it."""
    image = SandboxConfig().image
    try:
        with closing(connect()) as client:
            check_image(client, image)
    except MissingEngine as error:
        pytest.skip(str(error))
    if not shutil.which("dockerd") or os.geteuid():
        pytest.skip("an engine of one's own needs dockerd and root")
    own = OwnEngine(image)
    yield own
    own.remove()


@pytest.fixture
def temporary() -> Iterator[Path]:
    """The run's folder for temporary files; short, because Unix sockets may lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="storm-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_a_run_ends_well_and_leaves_nothing_in_a_storm_of_faults(
    engine: OwnEngine, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TMPDIR", str(temporary))
    run = tmp_path / "run"
    settings = {
        "run_dir": run,
        "model.sft_path": tmp_path / "sft",
        "actors.number": 2,
        "actors.silence_s": 20,
        "sandbox.backend": "docker",
        "sandbox.number": 2,
        "sandbox.containers": 1,
        "sandbox.silence_s": 20,
        "sandbox.attempts": 10,
        "learner.silence_s": 30,
        "learner.restarts": 10,
        "learner.samples_per_step": 32,  # slower steps than the faults
        "train.steps": STEPS,
        "train.max_staleness": STALENESS,
        "train.checkpoint_every": 1,
        "train.keep_checkpoints": 3,
    }
    in_memory = shared_memory()
    finish(stepcoder("sft", changes=settings))
    storm = Storm(
        settings,
        engine,
        steps=STEPS,
        faults=FAULTS,
        seed=SEED,
        log=lambda line: print(line, file=sys.stderr, flush=True),
    )
    try:
        storm.run()
    except BaseException:
        storm.close()
        raise
    finally:
        (tmp_path / "output.txt").write_text(storm.output)
    assert storm.injected.total() == FAULTS
    assert storm.injected.keys() <= KINDS.keys()
    account = ledger_report.report(run)
    assert account.balances, account.lines
    steps = [json.loads(row)["step"] for row in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, STEPS + 1))
    assert "Traceback" not in storm.output
    # nothing is left: no process, no container, no shared memory, no temporary folder
    assert [line for session in storm.sessions for line in processes_of_session(session)] == []
    assert engine.containers() == []
    assert left_in_shared_memory(in_memory) == set()
    assert [path.name for path in temporary.glob("stepcoder-*")] == []
