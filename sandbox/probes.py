"""Probes of the sandbox: the engine, its image, and one program judged for real."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sandbox.attached import attached_pool
from sandbox.attached.attached_pool import AttachedPool
from sandbox.bubblewrap import bubblewrap_pool
from sandbox.bubblewrap.bubblewrap_pool import BubblewrapWorker
from sandbox.containers import image_check
from sandbox.containers.container import Container, check_image, connect, how_to_get
from sandbox.guest.layout import RunOrder
from sandbox.guest_link import RunReport
from sandbox.judging import judge
from sandbox.process_pool import ProcessWorker
from sandbox.seat import Worker
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.doctor.examination import Finding, Mark
from stepcoder_dist.errors import MissingEngine, SandboxFault
from stepcoder_dist.records import Limits, Outcome, TestSuite

PROGRAM = "n = int(input())\nif n > 5:\n    print('large')\nelse:\n    print('small')\n"
TESTS = TestSuite(inputs=("3\n",), outputs=("small\n",))
EXECUTED = frozenset({1, 2, 5})
"""Lines of `PROGRAM` that its test runs."""
LIMITS = Limits(cpu_s=4, wall_s=10, memory_bytes=256 * 2**20, output_bytes=2**20, processes=16)


def docker(
    image: str, *, auto: bool, packages: Sequence[str] = (), runtime: str | None = None
) -> list[Finding]:
    """Engine, image and guest; each only where the one before works.

    `auto`: a run goes without an engine where none answers.
    """
    try:
        client = connect()
    except MissingEngine as error:
        seen, _, fix = str(error).partition("; ")
        return [Finding("Docker", Mark.CAUTION if auto else Mark.FAILS, seen, fix)]
    try:
        findings = [_engine(client)]
        try:
            check_image(client, image)
        except MissingEngine:
            missing = f"{image} is missing"
            return [*findings, Finding("sandbox image", Mark.FAILS, missing, how_to_get(image))]
        trouble = image_check.examine(client, image, packages, LIMITS)
        if isinstance(trouble, image_check.Trouble):
            seen = f"{image}: {trouble.seen}"
            return [*findings, Finding("sandbox image", Mark.FAILS, seen, trouble.fix)]
        findings.append(Finding("sandbox image", Mark.WORKS, f"{image}: {trouble}"))
        try:
            worker = Container(client, image, LIMITS, runtime=runtime)
        except SandboxFault as fault:
            fix = "docker info lists the runtimes that the engine has (sandbox.runtime)"
            return [*findings, Finding("sandbox", Mark.FAILS, str(fault)[:300], fix)]
        # the engine took our seccomp profile, or the container would not have started
        return [*findings, _judged(worker, f"{image}, with our seccomp profile")]
    finally:
        client.close()


def bubblewrap(root: str | None, *, auto: bool) -> list[Finding]:
    """Return whether bubblewrap works here, and who limits the memory of a place."""
    try:
        bubblewrap_pool.check(root)
        worker = BubblewrapWorker(LIMITS, root=root)
    except (MissingEngine, SandboxFault) as error:
        seen, _, fix = str(error).partition("; ")
        mark = Mark.CAUTION if auto else Mark.FAILS
        return [Finding("bubblewrap", mark, seen, fix or "docs/sandbox.md")]
    memory = "a control group" if worker.groups is not None else "the zygote's watch"
    where = f"{bubblewrap_pool.described(root)}; memory limited by {memory}"
    return [_judged(worker, where, "bubblewrap")]


def attached(sockets: str | None) -> list[Finding]:
    """Return whether a guest serves one of the sockets, here and now."""
    config = SandboxConfig(backend="attached", sockets=sockets)
    try:
        hello = attached_pool.check(config)
        # it was only looked at: it listens again in a moment
        worker = AttachedPool(config.model_copy(update={"engine_wait_s": 10.0})).attach()
    except (MissingEngine, SandboxFault) as error:
        seen, _, fix = str(error).partition("; ")
        return [Finding("guests", Mark.FAILS, seen, fix or "docs/sandbox.md")]
    python = ".".join(map(str, hello.python))
    where = f"a guest at {worker.path}, Python {python}, user {hello.user}"
    return [_judged(worker, where, "guests")]


def process() -> list[Finding]:
    """Return the findings about the backend without an engine."""
    where = "plain processes, NO security boundary"
    return [_judged(ProcessWorker(), where, "without Docker")]


def _engine(client: Any) -> Finding:
    version, info = client.version(), client.info()
    seen = (
        f"engine {version.get('Version', '?')}, API {version.get('ApiVersion', '?')}, control "
        f"groups v{info.get('CgroupVersion', '1')}, storage {info.get('Driver', '?')}"
    )
    if not any("seccomp" in option for option in info.get("SecurityOptions") or ()):
        fix = "use a kernel with CONFIG_SECCOMP_FILTER and an engine that uses it"
        return Finding("Docker", Mark.CAUTION, f"{seen}; no seccomp", fix)
    return Finding("Docker", Mark.WORKS, seen)


def _judged(worker: Worker, where: str, subject: str = "sandbox") -> Finding:
    """Return whether one program's verdict and executed lines from the guest are right."""

    def run(order: RunOrder, blobs: list[bytes], *, quiet: bool = False) -> RunReport:  # noqa: ARG001 - it is alone
        return worker.run(order, blobs)

    try:
        verdict = judge(run, PROGRAM, TESTS, LIMITS)
    finally:
        worker.close()
    executed = verdict.executed_lines
    if verdict.outcome is Outcome.PASSED and executed == EXECUTED:
        return Finding(subject, Mark.WORKS, f"judges, and sees which lines ran: {where}")
    seen = f"{where}: {verdict.outcome}, lines {sorted(executed)}; {verdict.detail}"
    return Finding(subject, Mark.FAILS, seen, "make sandbox-image")
