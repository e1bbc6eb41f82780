"""The core imports on a machine that has none of the heavy libraries."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import stepcoder_dist

HEAVY = ("torch", "ray", "vllm", "deepspeed", "docker", "transformers")
COMPOSITION_ROOT = "stepcoder_dist.launch"
PROBE = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            raise ImportError("the core imports " + name)

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
    probe = f"HEAVY = {HEAVY!r}\nMODULES = {modules!r}\n{PROBE}"
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
