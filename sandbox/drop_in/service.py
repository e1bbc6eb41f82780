"""`stepcoder sandbox serve`: the sandbox behind HTTP, until a signal; then it drains."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import secrets
import sys
from dataclasses import dataclass, field

from aiohttp import web

from sandbox.backend import choose, make_pool
from sandbox.drop_in.routes import Service, ServiceLimits
from stepcoder_dist import problems as problem_sets
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import StopAsked, UserError
from stepcoder_dist.host.interruption import StopRequest
from stepcoder_dist.records import Problem

TOKEN = "STEPCODER_SANDBOX_TOKEN"  # noqa: S105 - the variable's name
_SHORTEST_TOKEN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """Where the service listens, whom it serves, and for how long it waits at the end."""

    host: str = "127.0.0.1"
    port: int = 8080
    """0: the system picks one; the first line says which."""
    without_token: bool = False
    problems: str = ""
    """A set whose problems clients may name; empty: every request brings its tests."""
    drain_s: float = 30.0
    limits: ServiceLimits = field(default_factory=ServiceLimits)


async def serve(config: SandboxConfig, settings: ServeSettings, stop: StopRequest) -> None:
    """Serve until `stop` is asked, then finish what was admitted.

    Raises `UserError` for settings that cannot be used, `MissingEngine`, `SandboxFault`.
    """
    token = _token(settings)
    known = _problems(settings.problems)
    pool = make_pool(config, backend := choose(config))
    async with pool:
        service = Service(pool, token=token, problems=known, limits=settings.limits)
        # a client that goes away must not keep a place
        runner = web.AppRunner(
            service.application(), handler_cancellation=True, access_log=None, handle_signals=False
        )
        await runner.setup()
        try:
            port = await _listen(runner, settings)
            _say(f"serving on http://{settings.host}:{port}, {config.containers} {backend} places")
            with stop.heed(lambda name: _say(f"{name}: draining")):
                try:
                    await stop.first(_for_ever())
                except StopAsked:
                    left = await service.drain(settings.drain_s)
            _say(f"drained, {left} programs left")
        finally:
            await runner.cleanup()


async def _listen(runner: web.AppRunner, settings: ServeSettings) -> int:
    site = web.TCPSite(runner, settings.host, settings.port, shutdown_timeout=1)
    try:
        await site.start()
    except OSError as error:
        raise UserError(
            f"{settings.host}:{settings.port} cannot be listened on ({error.strerror or error}); "
            "choose another --host, or another --port (0: a free one)"
        ) from None
    return int(runner.addresses[0][1])


async def _for_ever() -> None:
    await asyncio.Event().wait()


def _token(settings: ServeSettings) -> str | None:
    if settings.without_token:
        if not _loopback(settings.host):
            raise UserError(
                f"--no-token on {settings.host} would let everybody run programs; leave it out, "
                "or listen on 127.0.0.1"
            )
        return None
    given = os.environ.get(TOKEN)
    if given is None:
        made = secrets.token_urlsafe(32)
        _say(f"token, shown once: {made} (set {TOKEN} to choose one)")
        return made
    if len(given) < _SHORTEST_TOKEN:
        raise UserError(
            f"{TOKEN} has {len(given)} characters; give {_SHORTEST_TOKEN} or more, or unset it"
        )
    return given


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _problems(spec: str) -> dict[str, Problem]:
    if not spec:
        return {}
    return {problem.problem_id: problem for problem in problem_sets.load(spec)}


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
