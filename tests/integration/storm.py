"""A run under a seeded storm of faults: what is injected, when, and what the run answers."""

from __future__ import annotations

import contextlib
import queue
import random
import re
import signal
import subprocess
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import closing
from os import kill
from pathlib import Path

import docker
from commands import pids_of_session, processes_of_session, stepcoder
from docker.errors import DockerException
from own_engine import OwnEngine

SILENCE_S = 600.0
"""A run that prints nothing for so long under faults has come to a halt."""
FIRST_STEP = 3
"""No fault before it: a run without a checkpoint ends with its learner, and says so."""
LAST_SHARE = 0.8
"""Of a run's steps: what is late, because the run was faster, comes in the rest."""
KINDS: Mapping[str, int] = {
    "kill a rollout actor": 5,
    "stop a rollout actor": 3,
    "kill an executor": 5,
    "stop an executor": 3,
    "kill a container": 8,
    "stop a container": 1,
    "kill a learner rank": 3,
    "stop a learner rank": 1,
    "kill the driver": 1,
    "terminate the driver": 1,
    "terminate the engine": 1,
    "kill the engine": 1,
}
"""How often each comes, of 33."""
_PATIENCE = {"RAY_raylet_start_wait_time_s": "240", "RAY_agent_register_timeout_ms": "240000"}
"""Ray's own limits for the start of its processes, which faults make slow."""
_TERMINATED = 128 + signal.SIGTERM
_PROGRESS = re.compile(r"(?:✗ )?RL:? +(\d+)/(\d+)")
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "terminate": signal.SIGTERM}
_ACTORS = {
    "rollout actor": "RolloutActor",
    "executor": "ExecutorActor",
    "learner rank": "LearnerRank",
}


class Storm:
    """Runs `stepcoder train` to its end; resumes it where a fault ended the driver."""

    def __init__(
        self,
        settings: Mapping[str, object],
        engine: OwnEngine,
        *,
        steps: int,
        faults: int,
        seed: int,
        log: Callable[[str], None],
    ) -> None:
        self._settings, self._engine, self._steps, self._log = settings, engine, steps, log
        self._random = random.Random(seed)
        last = max(FIRST_STEP, int(LAST_SHARE * steps))
        drawn = (self._random.randint(FIRST_STEP, last) for _ in range(faults))
        self._due = deque(sorted(drawn))
        """The steps after which the faults come."""
        self.injected: Counter[str] = Counter()
        self.resumptions = 0
        self.sessions: list[int] = []
        self.output = ""
        self._process: subprocess.Popen[str]
        self._lines: queue.SimpleQueue[str | None]
        self._reached = 0
        self._trains = False
        """Whether this driver has come to its steps: a start that fails ends it, and says so."""

    def run(self) -> None:
        """Return when the run has ended well and every fault was injected."""
        self._start()
        while (line := self._next_line()) is not None:
            self._look(line)
            if line.startswith("stepcoder: Ray did not start"):
                self._start_again()  # faults overload the machine
            while self._trains and self._due and self._due[0] <= self._reached:
                self._due.popleft()
                self._inject()
                self._catch_up()
        code = self._process.wait(60)
        ended = (0, -signal.SIGKILL, _TERMINATED) if self._reached == self._steps else (0,)
        assert code in ended, f"{code}\n{self.output[-6000:]}"
        assert not self._due, f"the run ended before its faults:\n{self.output[-6000:]}"

    def close(self) -> None:
        """End what is left of a run that failed."""
        for session in self.sessions:
            for pid in _session_pids(session):
                with contextlib.suppress(ProcessLookupError):
                    kill(pid, signal.SIGKILL)

    def _start(self, *arguments: str) -> None:
        self._trains = False
        self._process = stepcoder(
            "train",
            *arguments,
            changes=self._settings,
            environment={"DOCKER_HOST": self._engine.host, **_PATIENCE},
        )
        self.sessions.append(self._process.pid)
        self._lines = queue.SimpleQueue()
        threading.Thread(target=_read, args=(self._process, self._lines), daemon=True).start()

    def _catch_up(self) -> None:
        """Look at what the run has printed meanwhile."""
        while self._lines.qsize():
            if (line := self._next_line()) is None:
                self._lines.put(None)  # the end is for whoever waits for it
                return
            self._look(line)

    def _look(self, line: str) -> None:
        """Take the step that the run has reached from a line of its output."""
        if done := _PROGRESS.match(line):
            self._trains = True
            now = self._steps - int(done[2]) + int(done[1])
            self._reached = max(self._reached, now)

    def _next_line(self) -> str | None:
        """Return the next line of the run, None at its end."""
        try:
            line = self._lines.get(timeout=SILENCE_S)
        except queue.Empty:
            raise AssertionError(f"no word for {SILENCE_S} s:\n{self.output[-6000:]}") from None
        self.output += line or ""
        return line

    def _inject(self) -> None:
        """Inject one fault at a random moment."""
        if not self._due or self._due[0] >= self._reached:  # else the run is faster: make haste
            time.sleep(self._random.uniform(0, 1))  # the moment is what is drawn
        while True:  # what is not there now cannot be hit: another kind is drawn
            kind = self._random.choices(list(KINDS), list(KINDS.values()))[0]
            verb, _, what = kind.partition(" ")
            _, _, victim = what.partition(" ")
            if self._hit(verb, victim):
                break
        self.injected[kind] += 1
        self._log(f"after step {self._reached}: {kind}")

    def _hit(self, verb: str, victim: str) -> bool:
        by = _SIGNALS[verb]
        if victim == "driver":
            self._lose_driver(by)
            return True
        if victim == "engine":
            self._engine.end(by)
            time.sleep(self._random.uniform(0, 5))
            self._engine.start()
            return True
        if victim == "container":
            return self._hit_container(by)
        pids = pids_of_session(self._process.pid, _ACTORS[victim])
        if not pids:
            return False
        try:
            kill(self._random.choice(pids), by)
        except ProcessLookupError:
            return False
        return True

    def _hit_container(self, by: signal.Signals) -> bool:
        try:
            with closing(docker.DockerClient(base_url=self._engine.host)) as client:
                running = client.containers.list(ignore_removed=True)
                if not running:
                    return False
                chosen = self._random.choice(sorted(running, key=lambda c: str(c.id)))
                process = int(client.api.inspect_container(chosen.id)["State"]["Pid"])
                if not process:  # it has just ended; 0 is the storm's own process group
                    return False
                kill(process, by)
        except (DockerException, ProcessLookupError):  # it has just ended
            return False
        return True

    def _start_again(self) -> None:
        """Do what the error of a run that did not come up says."""
        self._process.wait(120)
        wait_for_the_end_of(self._process.pid)
        self._log("Ray did not start")
        self._start("--resume")

    def _lose_driver(self, by: signal.Signals) -> None:
        if by is signal.SIGKILL:
            self._process.kill()
        else:
            self._process.send_signal(by)
        while (line := self._next_line()) is not None:
            self._look(line)
        code = self._process.wait(60)
        assert code in (-signal.SIGKILL, _TERMINATED), f"{code}\n{self.output[-6000:]}"
        wait_for_the_end_of(self._process.pid)
        checkpoints = Path(str(self._settings["run_dir"]), "checkpoints")
        if (checkpoints / f"step_{self._steps:06d}").exists():
            self._reached = self._steps
            self._lines.put(None)  # nothing is left to be resumed
            return
        self.resumptions += 1
        self._start("--resume")


def wait_for_the_end_of(session: int) -> None:
    """Ray's processes end a moment after the driver of which they are."""
    deadline = time.monotonic() + 180
    while left := processes_of_session(session):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def _read(process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


def _session_pids(session: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[3]) == session:
                found.append(int(stat.parent.name))
    return found
