"""The paths of the service: who may ask, how many at once, and every answer's form."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from sandbox.drop_in.background_pool import Work
from sandbox.drop_in.judge_request import judge_request, one_line
from sandbox.drop_in.run_code import run_code_answer, run_code_work
from sandbox.drop_in.service_metrics import ServiceMetrics
from sandbox.judge_files.batch import verdict_row
from sandbox.worker_pool import WorkerPool
from stepcoder_dist.errors import CheckerFault, SandboxFault, UserError
from stepcoder_dist.records import Problem, Verdict

_RETRY_S = "1"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits:
    """What clients may ask for."""

    body_bytes: int = 16 * 2**20
    in_flight: int = 64
    """Programs that wait or run; one more is told to come back."""
    body_s: float = 30.0
    """Seconds in which a body has arrived."""


class Service:
    """Answers requests over one started pool."""

    def __init__(
        self,
        pool: WorkerPool,
        *,
        token: str | None,
        problems: Mapping[str, Problem],
        limits: ServiceLimits,
    ) -> None:
        """Without a token everybody who reaches the port may ask."""
        self._pool = pool
        self._token = token
        self._problems = problems
        self._limits = limits
        self._metrics = ServiceMetrics(pool.stats)
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    def application(self) -> web.Application:
        """Return the application to run."""
        app = web.Application(client_max_size=self._limits.body_bytes, middlewares=[self._around])
        app.router.add_post("/v1/judge", self._judge)
        app.router.add_post("/run_code", self._run_code)
        app.router.add_get("/metrics", self._show_metrics)
        app.router.add_get("/healthz", self._health)
        return app

    async def drain(self, patience_s: float) -> int:
        """Take nothing new, and wait for what was admitted; return how much of it is left."""
        self._draining = True
        try:
            async with asyncio.timeout(patience_s):
                await self._idle.wait()
        except TimeoutError:
            pass
        return self._in_flight

    # ── every request ────────────────────────────────────────────────────────────────────────

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await self._answer(request, handler)
        except web.HTTPException as error:  # no such path, another method, too large a body
            response = refusal(error.status, one_line(error))
            if error.status == web.HTTPRequestEntityTooLarge.status_code:
                most = self._limits.body_bytes
                response = refusal(error.status, f"the body has more than {most} bytes")
        except (UserError, CheckerFault) as error:
            response = refusal(400, one_line(error))
        except SandboxFault as error:
            response = refusal(503, one_line(error), retry=True)
        known = request.match_info.route.resource
        path = known.canonical if known is not None else "other"
        self._metrics.requests.labels(path, str(response.status)).inc()
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path != "/healthz" and not self._allowed(request):
            return refusal(401, "send the header Authorization: Bearer TOKEN")
        return await handler(request)

    def _allowed(self, request: web.Request) -> bool:
        if self._token is None:
            return True
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        # bytes of a header that are no UTF-8 come as surrogates
        return hmac.compare_digest(given.encode(errors="surrogateescape"), self._token.encode())

    # ── programs ─────────────────────────────────────────────────────────────────────────────

    async def _judge(self, request: web.Request) -> web.StreamResponse:
        def read(body: bytes) -> tuple[Work, Callable[[Verdict], dict[str, Any]]]:
            asked, work = judge_request(body, self._problems)
            about = {"request_id": asked.request_id, "problem_id": asked.problem_id}
            return work, lambda verdict: about | judged(verdict, work)

        return await self._admitted(request, read)

    async def _run_code(self, request: web.Request) -> web.StreamResponse:
        return await self._admitted(request, lambda body: (run_code_work(body), run_code_answer))

    async def _admitted(
        self,
        request: web.Request,
        read: Callable[[bytes], tuple[Work, Callable[[Verdict], dict[str, Any]]]],
    ) -> web.StreamResponse:
        """Judge one program, or say when to come back. The body is read only when admitted."""
        if self._draining:
            return refusal(503, "the service is going away; ask another", retry=True)
        if self._in_flight >= self._limits.in_flight:
            told = f"{self._in_flight} programs are in flight, the most; come back"
            return refusal(429, told, retry=True)
        began = time.perf_counter()
        self._count(1)
        try:
            try:
                async with asyncio.timeout(self._limits.body_s):
                    body = await request.read()
            except TimeoutError:
                return refusal(408, f"no complete body in {self._limits.body_s:g} s")
            except web.RequestPayloadError as error:  # it is not encoded as its header says
                return refusal(400, f"the body cannot be read ({one_line(error)})")
            work, answer = read(body)
            verdict = await self._pool.judge(work.source, work.tests, problem_id=work.problem_id)
        finally:
            self._count(-1)
        self._metrics.verdicts.labels(verdict.outcome.value).inc()
        self._metrics.seconds.observe(time.perf_counter() - began)
        return web.json_response(answer(verdict))

    def _count(self, more: int) -> None:
        self._in_flight += more
        self._metrics.in_flight.set(self._in_flight)
        if self._in_flight:
            self._idle.clear()
        else:
            self._idle.set()

    # ── the service itself ───────────────────────────────────────────────────────────────────

    async def _show_metrics(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(
            body=self._metrics.page(), headers={"Content-Type": "text/plain; version=0.0.4"}
        )

    async def _health(self, _request: web.Request) -> web.StreamResponse:
        if self._draining:
            return refusal(503, "draining")
        return web.json_response({"status": "ok"})


def judged(verdict: Verdict, work: Work) -> dict[str, Any]:
    """Return a verdict as JSON: the keys of `stepcoder judge`, and each test."""
    row = verdict_row(verdict, work.source, len(work.tests))
    row["tests"] = [
        {
            "outcome": test.outcome.value,
            "cpu_ms": round(test.cpu_ms, 3),
            "detail": test.detail,
            "executed_lines": sorted(test.executed_lines),
        }
        for test in verdict.tests
    ]
    return row


def refusal(status: int, why: str, *, retry: bool = False) -> web.Response:
    """Return an answer without a verdict: `{"error": one line}`."""
    headers = {"Retry-After": _RETRY_S} if retry else {}
    return web.json_response({"error": why}, status=status, headers=headers)
