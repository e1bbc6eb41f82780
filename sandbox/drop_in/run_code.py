"""SandboxFusion's `run_code`: a program and its standard input in, what it printed out.

Its clients (verl's `sandbox_fusion` reward, open-r1) need another address and nothing else. Only
Python is run. What a program printed before it failed is not kept; `stderr` is its last error line.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.drop_in.background_pool import Work
from sandbox.drop_in.judge_request import check, complaint, read_json
from stepcoder_dist.errors import UserError
from stepcoder_dist.records import Outcome, TestSuite, Verdict

_PYTHON = ("python", "python3")
_MOST_SECONDS = 600.0


class RunCode(BaseModel):
    """The body of `POST /run_code`; keys that we do not know are left alone, as there."""

    model_config = ConfigDict(frozen=True)

    code: str
    language: str = "python"
    stdin: str | None = ""
    run_timeout: float = 10.0
    """Processor seconds here."""
    memory_limit_MB: float = Field(default=-1, allow_inf_nan=False)  # noqa: N815 - as on the wire
    """-1: the service's own limit."""
    files: dict[str, Any] = {}
    fetch_files: list[str] = []


def run_code_work(body: bytes) -> Work:
    """Return the work of a request. Raises `UserError`, in one line."""
    try:
        request = RunCode.model_validate(read_json(body))
    except ValidationError as error:
        raise UserError(complaint(error)) from None
    if request.language not in _PYTHON:
        raise UserError(f"language {request.language[:50]!r} is not run here; send python")
    if request.files or request.fetch_files:
        raise UserError("files are not taken here; leave out files and fetch_files")
    if not 0 < request.run_timeout <= _MOST_SECONDS:
        raise UserError(f"run_timeout is above 0 and at most {_MOST_SECONDS:g}")
    memory = request.memory_limit_MB
    tests = TestSuite(
        inputs=(request.stdin or "",),
        outputs=("",),
        comparison="exact",
        cpu_limit_s=request.run_timeout,
        memory_limit_bytes=int(memory * 2**20) if memory > 0 else None,
        keep_answers=True,
    )
    work = Work(request.code, tests, "run_code")
    check(work)
    return work


def run_code_answer(verdict: Verdict) -> dict[str, Any]:
    """Return SandboxFusion's answer: `Success` where the program ended with code 0."""
    test = verdict.tests[0] if verdict.tests else None
    ran = verdict.outcome in (Outcome.PASSED, Outcome.WRONG_ANSWER)
    late = verdict.outcome is Outcome.TIMEOUT
    printed = test.answer.value if test is not None and test.answer is not None else ""
    detail = "" if ran else (test.detail if test is not None else "") or verdict.detail
    return {
        "status": "Success" if ran else "Failed",
        "message": "",
        "compile_result": None,
        "run_result": {
            "status": "TimeLimitExceeded" if late else "Finished",
            "execution_time": (test.cpu_ms if test is not None else 0.0) / 1e3,
            "return_code": None if late else int(not ran),
            "stdout": printed,
            "stderr": detail or ("" if ran else verdict.outcome.value),
        },
        "executor_pod_name": None,
        "files": {},
    }
