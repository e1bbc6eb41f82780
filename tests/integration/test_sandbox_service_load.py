"""`stepcoder sandbox serve` under load: nothing is lost, nothing comes twice or for another.

`STEPCODER_LOAD_REQUESTS=1000 pytest -m long test_sandbox_service_load.py -s` for a quick one.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter

import pytest
from aiohttp import ClientConnectionError, ClientSession, TCPConnector
from served_sandbox import TOKEN, Served, served

from sandbox.backend import choose
from sandbox.containers.container import connect
from sandbox.containers.orphans import OWNER_LABEL
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import MissingEngine

REQUESTS = int(os.environ.get("STEPCODER_LOAD_REQUESTS", "10000"))
CLIENTS = 64


class Load:
    """64 clients that share a list of requests; each tries again where it is told to."""

    def __init__(self, service: Served) -> None:
        self.url = service.url + "/v1/judge"
        self.answers: Counter[str] = Counter()
        self.wrong: list[object] = []
        self.statuses: Counter[int] = Counter()
        self.abandoned = 0
        self.seconds: list[float] = []

    async def run(self, at_half: asyncio.Event) -> None:
        left = list(range(REQUESTS))
        random.Random(0).shuffle(left)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with ClientSession(headers=headers, connector=TCPConnector(limit=0)) as session:

            async def client(number: int) -> None:
                while left:
                    if len(left) < REQUESTS / 2:
                        at_half.set()
                        if not self.abandoned and number == 0:
                            await self.abandon(session, left[-1])
                    await self.ask(session, left.pop())

            async with asyncio.TaskGroup() as clients:
                for number in range(CLIENTS):
                    clients.create_task(client(number))

    async def abandon(self, session: ClientSession, number: int) -> None:
        """A client dies with a request in flight; the same request comes again from another."""
        self.abandoned += 1
        asking = asyncio.ensure_future(session.post(self.url, json=body(number)))
        await asyncio.wait({asking}, timeout=0.02)  # sent, as a rule admitted
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    async def ask(self, session: ClientSession, number: int) -> None:
        began = time.perf_counter()
        while True:
            try:
                async with session.post(self.url, json=body(number)) as answer:
                    self.statuses[answer.status] += 1
                    said = await answer.json()
                    if answer.status == 200:
                        break
                    await asyncio.sleep(float(answer.headers["Retry-After"]) * random.random())
            except ClientConnectionError:
                self.statuses[0] += 1
        self.seconds.append(time.perf_counter() - began)
        self.answers[said["request_id"]] += 1
        expected = "wrong_answer" if number % 3 == 0 else "passed"
        if (said["request_id"], said["outcome"]) != (str(number), expected):
            self.wrong.append((number, said))


def body(number: int) -> dict[str, object]:
    return {
        "request_id": str(number),
        "problem_id": f"p{number % 50}",
        "source": f"print({number} + int(input()))",
        "tests": {"inputs": ["1"], "outputs": [str(number + 1 + (number % 3 == 0))]},
    }


@pytest.mark.long
@pytest.mark.docker
@pytest.mark.timeout(1800)
def test_every_request_has_its_own_answer_though_a_container_and_a_client_are_killed():
    try:
        choose(SandboxConfig())
    except MissingEngine as error:
        pytest.skip(str(error))
    with served("--backend", "docker", "--jobs", "2", "--in-flight", "48") as service:
        load = Load(service)

        async def with_a_kill() -> None:
            at_half = asyncio.Event()
            running = asyncio.ensure_future(load.run(at_half))
            await asyncio.wait(
                [running, asyncio.ensure_future(at_half.wait())],
                return_when=asyncio.FIRST_COMPLETED,
            )
            await asyncio.to_thread(kill_a_container, service.process.pid)
            await running

        began = time.perf_counter()
        asyncio.run(with_a_kill())
        took = time.perf_counter() - began
        _, metrics = service.send("/metrics")
        assert service.end() == (0, "SIGTERM: draining\ndrained, 0 programs left\n")
    assert load.answers == Counter(str(number) for number in range(REQUESTS))
    assert load.wrong == []
    assert load.abandoned == 1
    assert load.statuses[200] == REQUESTS
    assert set(load.statuses) <= {200, 429}
    assert "stepcoder_sandbox_service_in_flight 0.0" in metrics
    assert counted("faults", metrics) <= 1  # none where it was killed between two programs
    assert counted("recycled", metrics) >= 1
    load.seconds.sort()
    print(
        f"{REQUESTS} requests, {CLIENTS} clients: {took:.1f} s, {REQUESTS / took:.0f}/s, "
        f"p50 {load.seconds[REQUESTS // 2]:.2f} s, p99 {load.seconds[REQUESTS * 99 // 100]:.2f} s, "
        f"answers by status {dict(load.statuses)}, load {os.getloadavg()[0]:.1f}"
    )


def kill_a_container(owner: int) -> None:
    """Kill one container of the service that has this process id."""
    client = connect(60.0)
    try:
        running = client.containers.list(filters={"label": OWNER_LABEL})
        next(c for c in running if c.labels[OWNER_LABEL].split(":")[-2] == str(owner)).kill()
    finally:
        client.close()


def counted(name: str, metrics: str) -> float:
    start = f"stepcoder_sandbox_service_{name} "
    (line,) = [line for line in metrics.splitlines() if line.startswith(start)]
    return float(line.split()[1])
