"""Where a role's packages are missing, one line names them and the extra that has them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from stepcoder_dist.cli import missing_extra

ROOT = Path(__file__).parents[3]
PYPROJECT = ROOT / "pyproject.toml"
ABLATION = ROOT / "deploy/runs/ablation.toml"


@pytest.mark.parametrize(
    ("package", "extra", "command"),
    [
        ("docker", "sandbox", "judge --problems p --programs c --out v"),
        ("matplotlib", "report", f"ablate {ABLATION} --report"),
        ("scipy", "report", f"ablate {ABLATION} --report"),
    ],
)
def test_a_command_whose_package_is_not_installed_names_the_extra_and_ends_with_2(
    package: str, extra: str, command: str
):
    probe = (
        f"import sys; sys.modules[{package!r}] = None\n"  # as Python treats what is not there
        "from stepcoder_dist.cli import commands as cli\n"
        f"sys.exit(cli.run({command!r}.split()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"stepcoder: {package} is not installed; `make setup` installs everything from the lock, "
        f"pip install 'stepcoder-dist[{extra}]' this part\n"
    )


def test_a_missing_module_of_our_own_is_a_bug_and_keeps_its_traceback():
    assert missing_extra.message(ModuleNotFoundError(name="stepcoder_dist.nowhere")) is None


def test_every_extra_that_is_named_exists():
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    assert set(missing_extra._EXTRAS.values()) <= extras.keys()
