"""The real command line in a process of its own, on run files that take seconds."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
DEMO = REPOSITORY / "deploy" / "runs" / "demo.toml"
EASY = "kinds=if,if-else&calls=0"
SMALL: Mapping[str, object] = {
    "problems.sft": f"ladder:sft?conditionals=1-2&count=64&{EASY}",
    "problems.train": f"ladder:train?conditionals=2&count=8&{EASY}",
    "problems.heldout": f"ladder:heldout?conditionals=1-2&count=8&{EASY}",
    "model.tiny.layers": 2,
    "model.tiny.hidden_size": 64,
    "model.tiny.heads": 2,
    "model.tiny.kv_heads": 2,
    "sft.phases": "[{ steps = 12, learning_rate = 3e-3 }]",
    "sampling.samples_per_problem": 4,
    "sampling.max_new_tokens": 48,
    "learner.samples_per_step": 16,
    "learner.minibatch_samples": 8,
    "learner.critic_warmup_steps": 0,
}


def sets(settings: Mapping[str, object]) -> list[str]:
    return [text for key, value in settings.items() for text in ("--set", f"{key}={value}")]


def stepcoder(
    *arguments: str,
    changes: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[str]:
    """Start a command in a session of its own: a signal to its group is a terminal's Ctrl-C."""
    command, *rest = arguments
    settings = SMALL | (changes or {})
    return subprocess.Popen(
        [sys.executable, "-m", "stepcoder_dist", command, str(DEMO), *rest, *sets(settings)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env=os.environ | {"RAY_ADDRESS": "", "PYTHONPATH": str(REPOSITORY)} | (environment or {}),
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for the end; return what is left of the output."""
    output, _ = process.communicate(timeout=500)
    assert process.returncode == code, output[-4000:]
    assert "Traceback" not in output
    return output


def read_until(process: subprocess.Popen[str], wanted: Callable[[str], bool]) -> str:
    """Read the output up to and with the first line that is wanted."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if wanted(line):
            return seen
    raise AssertionError(f"the command ended before it printed what was waited for:\n{seen}")


def shared_memory() -> set[str]:
    """Files in shared memory that no living process holds: those of others' runs do not count."""
    there = {path.name for path in Path("/dev/shm").iterdir()}
    held: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            maps = (process / "maps").read_text(errors="replace")
            held |= set(re.findall(r"/dev/shm/(\S+)", maps))
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    held.add(str(descriptor.readlink()).removeprefix("/dev/shm/"))
    return {name for name in there - held if Path("/dev/shm", name).exists()}


def left_in_shared_memory(before: set[str]) -> set[str]:
    """New files there, after time for those who clean up after a process that was killed."""
    deadline = time.monotonic() + 10
    while (left := shared_memory() - before) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def processes_of_session(session: int) -> list[str]:
    """Command lines of the processes of the session that a command was started in, and of Ray."""
    return list(processes_by_id(session).values())


def pids_of_session(session: int, actor: str) -> list[int]:
    """Processes of a command that are Ray actors of a class, by their logs."""
    family = processes_by_id(session)
    folders = {
        found for line in family.values() for found in re.findall(r"/\S*/session_[\w-]+", line)
    }
    logs = {
        int(log.stem.rpartition("-")[2]): log.read_text(errors="replace")
        for folder in folders
        for log in Path(folder, "logs").glob("worker-*.err")
    }
    mark = f":actor_name:{actor}\n"
    return sorted(pid for pid in family if mark in logs.get(pid, ""))


def kill_session(session: int) -> None:
    """Kill every process of a session that a command was started in: its machine is gone."""
    while pids := processes_by_id(session):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def processes_by_id(session: int) -> dict[int, str]:
    """Command lines of the living processes of a session."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = (stat.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found[int(stat.parent.name)] = command
    return found
