"""`stepcoder sandbox serve`: its API, its refusals, and its end."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import threading
import urllib.error
import urllib.request
import warnings
from urllib.parse import urlsplit

import pytest
from aiohttp.test_utils import TestClient, TestServer
from commands import REPOSITORY
from served_sandbox import DOUBLES, RIGHT, TOKEN, served

from sandbox.backend import make_pool
from sandbox.drop_in.routes import Service, ServiceLimits
from sandbox.drop_in.service import ServeSettings, serve
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import UserError
from stepcoder_dist.host.interruption import StopRequest


@pytest.fixture(scope="module")
def service():
    with served(
        "--backend", "process", "--body-mib", "1", "--problems", "ladder:heldout?count=2"
    ) as started:
        yield started


def test_a_program_is_judged_against_the_tests_that_come_with_it(service):
    status, said = service.judge("print(2)", request_id="r1", problem_id="mine")
    assert status == 200
    assert said.pop("wall_ms") > 0
    first, second = said.pop("tests")
    assert said == {
        "request_id": "r1",
        "problem_id": "mine",
        "outcome": "wrong_answer",
        "tests_passed": 1,
        "tests_total": 2,
        "executed_lines": [1],
        "kept_lines": [1],
        "coverage_trusted": True,
        "detail": "test 2: expected '4\\n', got '2\\n'",
    }
    assert (first["outcome"], first["executed_lines"]) == ("passed", [1])
    assert (second["outcome"], second["detail"]) == ("wrong_answer", "expected '4\\n', got '2\\n'")


def test_a_program_is_judged_against_a_problem_of_the_service(service):
    from stepcoder_dist import problems

    problem = problems.load("ladder:heldout?count=2")[1]
    body = {"source": problem.reference, "problem_id": problem.problem_id}
    status, said = service.send("/v1/judge", body)
    assert (status, said["outcome"]) == (200, "passed")


def test_the_pages_request_has_the_pages_answer(service):
    page = (REPOSITORY / "docs" / "sandbox-api.md").read_text()
    asked, shown = map(json.loads, re.findall(r"```json\n(.*?)```", page, re.DOTALL))
    status, said = service.send("/v1/judge", asked)
    assert status == 200
    for answer in (said, shown):
        assert answer.pop("wall_ms") > 0
        assert all(test.pop("cpu_ms") >= 0 for test in answer["tests"])
    assert said == shown


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "the body is not JSON"),
        (b"[" * 50_000, "the body is not JSON"),
        ([], "the body: Input should be"),
        ({"tests": DOUBLES}, "source: Field required"),
        ({"source": 3, "tests": DOUBLES}, "source: Input should be a valid string"),
        ({"source": "", "tests": DOUBLES | {"input": []}}, "tests.input: Extra inputs"),
        ({"source": "", "tests": DOUBLES | {"outputs": []}}, "2 inputs but 0 outputs"),
        ({"source": "", "tests": {}}, "it has no tests"),
        ({"source": "", "tests": DOUBLES | {"comparison": "best"}}, "unknown comparison 'best'"),
        ({"source": "", "tests": DOUBLES | {"time_limit_s": 1e9}}, "its time limit is 1e+09 s"),
        ({"source": "", "tests": DOUBLES | {"memory_limit_mb": 1e300}}, "its memory limit is"),
        (b'{"source": "", "tests": {"memory_limit_mb": 1e400}}', "tests.memory_limit_mb: Input"),
        (b'{"source": "", "tests": {"time_limit_s": NaN}}', "tests.time_limit_s: Input should be"),
        ({"source": "\ud800", "tests": DOUBLES}, "half a surrogate pair"),
        ({"source": ""}, "neither tests nor problem_id"),
        ({"source": "", "problem_id": "no"}, "no problem 'no' among the 2"),
    ],
)
def test_bad_input_is_one_line(service, body, says):
    status, said = service.send("/v1/judge", body)
    assert status == 400
    assert says in said["error"]
    assert "\n" not in said["error"]


def test_a_body_that_is_not_encoded_as_its_header_says_is_one_line(service):
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Encoding": "gzip"}
    request = urllib.request.Request(service.url + "/v1/judge", b"no gzip" * 9, headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=120)
    with refused.value as answer:
        said = json.loads(answer.read())["error"]
    assert answer.code == 400
    assert said.startswith("the body cannot be read (")
    assert "\n" not in said


def test_requests_without_the_token_learn_nothing(service):
    for path in ("/v1/judge", "/run_code", "/metrics", "/nothing"):
        assert service.send(path, {} if path != "/metrics" else None, token=None)[0] == 401
        assert service.send(path, {}, token="wrong")[0] == 401
        assert service.send(path, {}, token="no UTF-8: \xf6")[0] == 401
    assert service.send("/healthz", token=None) == (200, {"status": "ok"})


def test_other_paths_methods_and_bodies_too_large_are_refused(service):
    assert service.send("/nothing")[0] == 404
    assert service.send("/v1/judge")[0] == 405
    status, said = service.send("/v1/judge", b" " * (2**20 + 1))
    assert (status, said) == (413, {"error": "the body has more than 1048576 bytes"})


@pytest.mark.parametrize(
    ("asked", "status", "ran"),
    [
        ({"code": RIGHT, "stdin": "4"}, "Success", ("Finished", 0, "8\n", "")),
        (
            {"code": "1 / 0"},
            "Failed",
            ("Finished", 1, "", "ZeroDivisionError: division by zero (line 1)"),
        ),
        ({"code": "while True: pass", "run_timeout": 0.2}, "Failed", ("TimeLimitExceeded", None)),
        ({"code": "f("}, "Failed", ("Finished", 1, "")),
    ],
)
def test_run_code_answers_as_sandbox_fusion_does(service, asked, status, ran):
    body = {"language": "python", "compile_timeout": 10, "memory_limit_MB": 256, "files": {}}
    code, said = service.send("/run_code", body | asked)
    assert (code, said["status"], said["compile_result"]) == (200, status, None)
    result = said["run_result"]
    got = tuple(result[key] for key in ("status", "return_code", "stdout", "stderr"))
    assert got[: len(ran)] == ran


def test_run_code_refuses_what_it_does_not_run(service):
    assert (
        "'cpp' is not run here"
        in service.send("/run_code", {"code": "", "language": "cpp"})[1]["error"]
    )
    status, said = service.send("/run_code", {"code": "", "files": {"a": "b"}})
    assert (status, said["error"]) == (
        400,
        "files are not taken here; leave out files and fetch_files",
    )
    status, said = service.send("/run_code", b'{"code": "", "memory_limit_MB": 1e400}')
    assert (status, said["error"]) == (400, "memory_limit_MB: Input should be a finite number")


def test_metrics_count_requests_and_verdicts(service):
    service.judge(RIGHT)
    status, text = service.send("/metrics")
    assert status == 200
    assert 'stepcoder_sandbox_service_verdicts_total{outcome="passed"}' in text
    counted = 'stepcoder_sandbox_service_requests_total{path="/v1/judge",status="200"}'
    assert counted in text
    assert "stepcoder_sandbox_service_in_flight 0.0" in text
    assert "stepcoder_sandbox_service_workers 2.0" in text


def test_a_full_service_says_when_to_come_back_and_drains_at_sigterm():
    """A request whose body has not come yet is in flight: no program has to take its time."""
    with served("--backend", "process", "--jobs", "1", "--in-flight", "1") as service:
        place = urlsplit(service.url)
        body = (
            b'{"source": "print(2 * int(input()))", "tests": {"inputs": ["1"], "outputs": ["2"]}}'
        )
        head = (
            f"POST /v1/judge HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a-token-for-these-tests"
            f"\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection((place.hostname, place.port), timeout=60) as slow:
            slow.sendall(head.encode())
            while "in_flight 1.0" not in service.send("/metrics")[1]:
                pass
            status, said = service.judge(RIGHT)
            assert (status, said["error"]) == (
                429,
                "1 programs are in flight, the most; come back",
            )
            ending = []
            end = threading.Thread(target=lambda: ending.append(service.end()))
            end.start()
            while service.send("/healthz") != (503, {"error": "draining"}):
                pass
            assert service.judge(RIGHT)[0] == 503
            slow.sendall(body)
            answer = b"".join(iter(lambda: slow.recv(65536), b""))
        end.join()
    assert b'"outcome": "passed"' in answer
    assert ending == [(0, "SIGTERM: draining\ndrained, 0 programs left\n")]


def test_a_client_that_goes_away_leaves_its_place_to_the_next():
    with served("--backend", "process", "--jobs", "1", "--in-flight", "1") as service:
        place = urlsplit(service.url)
        body = b'{"source": "while True: pass", "tests": {"inputs": ["1"], "outputs": ["2"], '
        body += b'"time_limit_s": 3000}}'
        head = (
            f"POST /v1/judge HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a-token-for-these-tests"
            f"\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection((place.hostname, place.port), timeout=60) as gone:
            gone.sendall(head.encode() + body)
            while "in_flight 1.0" not in service.send("/metrics")[1]:
                pass
        while "in_flight 0.0" not in service.send("/metrics")[1]:
            pass
        status, said = service.judge(RIGHT)
        assert (status, said["outcome"]) == (200, "passed")
        assert service.end(signal.SIGINT)[0] == 0


@pytest.mark.parametrize(
    ("settings", "token", "says"),
    [
        ({"without_token": True, "host": "0.0.0.0"}, None, "--no-token on 0.0.0.0 would let every"),
        ({"without_token": True, "host": "example.org"}, None, "--no-token on example.org would"),
        ({}, "short", "STEPCODER_SANDBOX_TOKEN has 5 characters; give 16 or more"),
        ({"host": "203.0.113.1", "port": 0}, "x" * 16, "203.0.113.1:0 cannot be listened on"),
        ({"problems": "no-such-set.jsonl"}, "x" * 16, "no-such-set.jsonl"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_served_is_one_line(settings, token, says, monkeypatch):
    monkeypatch.delenv("STEPCODER_SANDBOX_TOKEN", raising=False)
    if token:
        monkeypatch.setenv("STEPCODER_SANDBOX_TOKEN", token)
    config = SandboxConfig(backend="process", containers=1)
    with pytest.raises(UserError, match=re.escape(says)) as refused:
        asyncio.run(serve(config, ServeSettings(**settings), StopRequest()))
    assert "\n" not in str(refused.value)


def test_a_token_is_made_and_shown_where_none_is_given_unless_none_is_wanted():
    with served("--backend", "process", "--jobs", "1", token=None) as service:
        assert service.judge(RIGHT)[0] == 401
        made = service.shown["token"]
        body = {"source": RIGHT, "tests": DOUBLES}
        assert service.send("/v1/judge", body, token=made)[1]["outcome"] == "passed"


def test_on_loopback_a_service_may_go_without_a_token():
    async def two_answers() -> tuple[int, int]:
        config = SandboxConfig(backend="process", containers=1)
        async with make_pool(config, "process") as pool:
            service = Service(pool, token=None, problems={}, limits=ServiceLimits())
            async with TestClient(TestServer(service.application())) as client:
                body = {"code": "print(1)"}
                first = await client.post("/run_code", json=body)
                await service.drain(1)
                return first.status, (await client.post("/run_code", json=body)).status

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert asyncio.run(two_answers()) == (200, 503)
