"""What a client of `stepcoder sandbox serve` sends, checked (docs/sandbox-api.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.answers.checks import check_source, check_suite
from sandbox.drop_in.background_pool import Work
from stepcoder_dist.errors import ProblemError, UserError
from stepcoder_dist.records import Problem, TestSuite


class Tests(BaseModel):
    """The tests of one request, with the keys of our own problem format (docs/data.md)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    inputs: list[Any] = []
    outputs: list[Any] = []
    fn_name: str | None = None
    comparison: str = "tokens"
    strict_types: bool = False
    checker: str = ""
    setup_code: str = ""
    test_code: str = ""
    entry_point: str | None = None
    time_limit_s: float | None = Field(default=None, gt=0)
    memory_limit_mb: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    def suite(self) -> TestSuite:
        """Return the suite, unchecked."""
        memory = self.memory_limit_mb
        fields = self.model_dump(exclude={"time_limit_s", "memory_limit_mb", "inputs", "outputs"})
        return TestSuite(
            **fields,
            inputs=tuple(self.inputs),
            outputs=tuple(self.outputs),
            cpu_limit_s=self.time_limit_s,
            memory_limit_bytes=None if memory is None else int(memory * 2**20),
        )


class JudgeRequest(BaseModel):
    """The body of `POST /v1/judge`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    source: str
    tests: Tests | None = None
    problem_id: str | None = None
    """One of the service's own problems where there are no `tests`; else only whose turn it is."""
    request_id: str | None = Field(default=None, max_length=200)
    """Comes back with the verdict."""


def read_json(body: bytes) -> Any:
    """Return the body's JSON. Raises `UserError`."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the body is not JSON ({one_line(error)}); send one object") from None


def judge_request(body: bytes, problems: Mapping[str, Problem]) -> tuple[JudgeRequest, Work]:
    """Return the request and its work. Raises `UserError`, in one line."""
    try:
        request = JudgeRequest.model_validate(read_json(body))
    except ValidationError as error:
        raise UserError(complaint(error)) from None
    if request.tests is not None:
        work = Work(request.source, request.tests.suite(), request.problem_id or "")
    elif request.problem_id is None:
        raise UserError("neither tests nor problem_id; send one of them")
    elif request.problem_id in problems:
        work = Work(request.source, problems[request.problem_id].tests, request.problem_id)
    else:
        raise UserError(
            f"no problem {request.problem_id[:200]!r} among the {len(problems)} of this service; "
            "send tests, or start it with --problems"
        )
    check(work)
    return request, work


def check(work: Work) -> None:
    """Refuse what cannot be judged. Raises `ProblemError`."""
    try:
        check_source(work.source)
        check_suite(work.tests)
        work.source.encode()
    except UnicodeEncodeError:
        raise ProblemError("the source has half a surrogate pair, which no file can hold") from None


def complaint(error: ValidationError) -> str:
    """Return the first thing that is wrong, in one line."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "the body"
    return f"{place}: {first['msg']}"


def one_line(error: BaseException) -> str:
    """Return an error's text in one line of bounded length."""
    return " ".join(str(error).split())[:500]
