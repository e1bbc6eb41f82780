"""Process 1 of a container: one forked child for each run, under clocks that it cannot reach.

    read an order (numbers) and its blobs, straight into files in memory
    fork; the child gives up its rights and runs (run_tests.py); an assert script runs in a
    second child, of another user (script_run.py)
    sleep until it ends, or until a clock has run out
    kill what is left, empty the folders, send the report

It is root, with only the capabilities in `sandbox/containers/container.py`. Blobs pass through
memory that a fork does not hand down (MADV_DONTFORK) and never through Python objects, so that no
child finds an earlier run in its heap. The zygote ends when its standard input does.
"""

from __future__ import annotations

import contextlib
import gc
import json
import mmap
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from sandbox.guest import confining, run_tests, script_run, sweeping
from sandbox.guest.layout import (
    LENGTH,
    READY,
    REPORT,
    SIZE,
    RunOrder,
    Settings,
    block_bytes,
    stride,
)
from sandbox.guest.limits import data_bytes, give_up_rights, memory_kills
from sandbox.guest.staging import Gone, Staging, file_in_memory
from sandbox.guest.tree_clock import account
from sandbox.guest.watch import Ended, Watch, sealed, seconds

_NEVER_STARTED = 71
_MOST_INHERITED = 256

_PRELOADED = (
    "bisect collections copy dataclasses datetime fractions functools heapq io itertools math "
    "operator queue random re statistics string threading typing"
)


def main(settings_json: str) -> NoReturn:
    """Serve until the host closes standard input."""
    os.closerange(3, _MOST_INHERITED)  # whoever started us may have left some open
    settings = Settings(**json.loads(settings_json))
    for module in _PRELOADED.split():
        __import__(module)
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    staging = Staging(source, sink)
    clean = True
    wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    if settings.contained:
        # a child that is our user could interrupt us; other signals do not reach process 1
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sweeping.stay_in_memory()
        if settings.uid is None:
            confining.hide()
    else:
        sweeping.become_subreaper()
    if settings.uid is None or settings.own_users or settings.call_filter:
        confining.prepare()
    data_bytes()
    account()
    sockets = sweeping.sockets()
    gc.collect()
    gc.freeze()
    gc.disable()
    version = json.dumps({"python": list(sys.version_info[:3]), "pid": os.getpid()}).encode()
    staging.send(READY + LENGTH.pack(len(version)) + version)
    staging.flush()
    try:
        while True:
            order = RunOrder(**staging.numbers())
            run = _Run(settings, order, staging, wake, waker, nothing, sockets)
            clean = run.serve() and clean
    except (Gone, BrokenPipeError, ConnectionResetError):
        sweeping.kill_everything(contained=settings.contained)
        clean = sweeping.empty(settings.folders) and clean
        if settings.again and clean:
            os.execv(settings.again[0], settings.again)  # noqa: S606 - as it was started
        if not settings.contained:  # the host may have had no time for it
            with contextlib.suppress(OSError):
                Path(settings.folders[0]).rmdir()
        os._exit(0)


class _Run:
    """One run, from the order's blobs to the report."""

    def __init__(
        self,
        settings: Settings,
        order: RunOrder,
        staging: Staging,
        wake: int,
        waker: int,
        nothing: int,
        sockets: bytes,
    ) -> None:
        self._settings = settings
        self._order = order
        self._staging = staging
        self._wake, self._waker = wake, waker
        self._block = mmap.mmap(-1, block_bytes(order.tests))
        self._lines = mmap.mmap(-1, max(1, order.tests * stride(order.lines)))
        made = [file_in_memory() for _ in range(2 * order.tests + 3)]
        self._files = run_tests.Files(
            program=made[0],
            inputs=made[1 : order.tests + 1],
            answers=made[order.tests + 1 : 2 * order.tests + 1],
            structure=made[-2],
            scratch=made[-1],
            nothing=nothing,
            block=self._block,
            lines=self._lines,
        )
        self._made = made
        self._sockets = sockets
        # (read, write): what the script asks, what the program replies
        self._asked: tuple[int, ...] = os.pipe2(os.O_CLOEXEC) if order.script else ()
        self._replied: tuple[int, ...] = os.pipe2(os.O_CLOEXEC) if order.script else ()

    def serve(self) -> bool:
        """Return whether nothing of it is left."""
        order, files = self._order, self._files
        for file, size in zip([files.program, *files.inputs], order.sizes, strict=True):
            self._staging.receive(file, size)
        kills_before = memory_kills()
        started = time.monotonic_ns()
        contained = self._settings.contained
        memory = self._settings.watch_memory
        watch = Watch(order, self._block, files.structure, contained=contained, watch_memory=memory)
        # the script's comes first: a program cannot use up the processes that it needs
        script = os.fork() if order.script else None
        if script == 0:
            self._become_script()
        pid = os.fork()
        if pid == 0:
            self._become_program()
        self._close(*self._asked, *self._replied)
        ended = watch.wait(pid, script, wake=self._wake, host=self._staging.source)
        wall = time.monotonic_ns() - started
        sweeping.kill_everything(contained=contained)
        clean = sweeping.empty(self._settings.folders)
        if contained and self._settings.own_network:
            clean = clean and sweeping.sockets() == self._sockets
        kills = memory_kills() - kills_before + ended.over_memory
        self._report(ended, wall, max(kills, 0), clean=clean)
        self._close(*self._made)
        self._block.close()
        self._lines.close()
        return clean

    # ── the children's last steps as root ────────────────────────────────────────────────────

    def _become_program(self) -> NoReturn:
        try:
            files = self._files
            if self._order.script:
                # the program never has the script, nor the file of the script's verdict
                self._close(*files.inputs, *files.answers, self._asked[1], self._replied[0])
                files = replace(
                    files,
                    inputs=[files.nothing],
                    answers=[files.nothing],
                    calls=(self._asked[0], self._replied[1]),
                )
            self._give_up_rights(self._settings.uid)
            run_tests.run(files, self._order.lines, self._order.output_bytes)
        finally:
            os._exit(_NEVER_STARTED)

    def _become_script(self) -> NoReturn:
        try:
            files = self._files
            own = [files.inputs[0], files.answers[0]]
            self._close(*(file for file in self._made if file not in own))
            self._close(self._asked[0], self._replied[1])
            self._block.close()
            self._lines.close()
            # the program may write into our working folder: nothing is imported from there
            sys.path[:] = [folder for folder in sys.path if folder]
            os.chdir("/")
            self._give_up_rights(self._settings.script_uid)
            pipes = self._replied[0], self._asked[1]
            script_run.run(own[0], own[1], pipes, files.nothing, self._order.output_bytes)
        finally:
            os._exit(_NEVER_STARTED)

    def _give_up_rights(self, uid: int | None) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        staging = self._staging
        self._close(staging.source, staging.sink, self._wake, self._waker)
        # opened again: settings and locks of an open file last as long as anybody has it open
        nothing = os.open("/dev/null", os.O_RDWR)
        os.dup2(nothing, self._files.nothing, inheritable=False)
        os.dup2(nothing, 2)
        self._close(nothing)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        give_up_rights(uid, self._order, self._settings)
        if not self._settings.contained:
            sweeping.end_with_the_zygote()
        gc.enable()

    @staticmethod
    def _close(*descriptors: int) -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    # ── the report ───────────────────────────────────────────────────────────────────────────

    def _report(self, ended: Ended, wall: int, kills: int, *, clean: bool) -> None:
        files, order, staging = self._files, self._order, self._staging
        described = sealed(files.structure)
        structure_size = os.fstat(files.structure).st_size if described else 0
        sizes = [os.fstat(file).st_size for file in files.answers]
        scratch = os.fstat(files.scratch).st_size
        cpu, peak = int(seconds(ended.usage) * 1e9), ended.usage.ru_maxrss * 1024
        seen = ended.status, ended.killed, clean, described, kills, ended.at
        used = cpu, wall, ended.waited_ns, peak
        staging.send(REPORT.pack(*seen, *used, structure_size, scratch))
        for size in sizes:
            staging.send(SIZE.pack(size))
        for shared in (self._block, self._lines):
            with memoryview(shared) as view:
                staging.send(view)
        staging.send_file(files.structure, structure_size)
        for file, size in zip(files.answers, sizes, strict=True):
            if size <= order.output_bytes:
                staging.send_file(file, size)
        staging.flush()
