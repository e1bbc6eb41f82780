"""The core imports without the heavy libraries, and the half of the driver with Ray alone."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from collections.abc import Sequence

import pytest

import stepcoder_dist
from stepcoder_dist import launch

HEAVY = ("torch", "ray", "vllm", "deepspeed", "docker", "transformers")
COMPOSITION_ROOT = "stepcoder_dist.launch"
HEAVY_FOR_THE_DRIVER = ("torch", "transformers", "vllm", "deepspeed", "docker", "safetensors")
DRIVERS_HALF = (
    "actors.actor_pool",
    "learner.learner_group",
    "learner.warm_start.sft",
    "learner.saving.manifest",
    "sandbox.pool.executor_pool",
    "sandbox.process_pool",
)
"""What `launch/` opens, and what it asks before that."""
PROBE = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            raise ImportError("this imports " + name)

sys.meta_path.insert(0, Refuse())
for name in MODULES:
    importlib.import_module(name)
print(sorted(set(HEAVY) & set(sys.modules)))
"""


def test_every_module_but_the_composition_root_imports_without_a_heavy_library() -> None:
    modules = [
        module.name
        for module in pkgutil.walk_packages(stepcoder_dist.__path__, "stepcoder_dist.")
        if not module.name.startswith(COMPOSITION_ROOT)
    ]
    assert "stepcoder_dist.method.curriculum" in modules
    import_all_without(HEAVY, modules)


def test_what_runs_the_loop_needs_ray_and_nothing_heavier() -> None:
    modules = [
        module.name for module in pkgutil.walk_packages(launch.__path__, "stepcoder_dist.launch.")
    ]
    assert "stepcoder_dist.launch.train" in modules
    pytest.importorskip("ray")
    import_all_without(HEAVY_FOR_THE_DRIVER, [*modules, *DRIVERS_HALF])


def import_all_without(heavy: Sequence[str], modules: Sequence[str]) -> None:
    """Import the modules in a process that refuses the heavy libraries."""
    probe = f"HEAVY = {tuple(heavy)!r}\nMODULES = {list(modules)!r}\n{PROBE}"
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


def test_role_packages_say_what_they_are_without_loading_their_engine() -> None:
    probe = (
        "import sys, actors, learner, sandbox, sandbox.guest\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
