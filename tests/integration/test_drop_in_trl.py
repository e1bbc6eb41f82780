"""The real TRL trainer takes `UnitTestReward` as it is.

TRL is no dependency. To run this, install it next to this project in an environment of its own and
name its Python: `STEPCODER_TRL_PYTHON=~/trl/bin/python pytest -m long test_drop_in_trl.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean

import pytest
from commands import REPOSITORY

PYTHON = os.environ.get("STEPCODER_TRL_PYTHON", sys.executable)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_trl_trains_two_steps_on_our_rewards(tiny_checkpoint: Path, tmp_path: Path):
    probe = subprocess.run([PYTHON, "-c", "import trl"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"{PYTHON} has no TRL; name one that has as STEPCODER_TRL_PYTHON")
    script = Path(__file__).with_name("trl_two_steps.py")
    ended = subprocess.run(
        [PYTHON, str(script), str(tiny_checkpoint), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=800,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    told = json.loads(ended.stdout.splitlines()[-1])
    assert told["step"] == 2
    assert [len(rewards) for rewards in told["asked"]] == [4, 4]
    assert {r for rewards in told["asked"] for r in rewards} <= {1.0, -0.3, -0.6, -1.0}
    assert told["logged"] == pytest.approx([mean(rewards) for rewards in told["asked"]])
