"""Rewards from unit tests for other trainers: TRL, verl, verifiers (docs/sandbox.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

from sandbox.answers.checks import check_suite
from sandbox.drop_in.background_pool import BackgroundPool, Work
from stepcoder_dist import problems as problem_sets
from stepcoder_dist.errors import ProblemError, SandboxFault, UserError
from stepcoder_dist.method.reward import reward
from stepcoder_dist.records import Problem, Verdict
from stepcoder_dist.text.answer import ends_in_open_fence, program_of

Kind = Literal["tiered", "binary", "pass_ratio", "pass_share"]


class UnitTestReward:
    """Judges completions by their problems' tests. Called directly it is a TRL reward function.

    The sandbox starts with the first completion, and stays for those that follow. It ends with
    `close`, a `with` block or the process. Any thread may call it. Pickled, it takes its problems
    along and starts a sandbox of its own.
    """

    def __init__(
        self,
        problems: str | Path | Iterable[Problem],
        *,
        kind: Kind = "tiered",
        column: str = "problem_id",
        fence_open: bool | None = None,
        fault_reward: float | None = None,
        backend: str = "auto",
        **sandbox: Any,
    ) -> None:
        """Read the problems, and look for the sandbox's backend.

        `problems`: a set in any known format, by its path (docs/data.md), or `Problem`s.
        `kind`: `tiered`, `binary` and `pass_ratio` as `[reward]` of a run file has them;
            `pass_share` is tests passed / tests, in [0, 1].
        `column`: the data set's column that names a completion's problem.
        `fence_open`: whether prompts end in an open code block; None: look at each prompt.
        `fault_reward`: the reward where the sandbox itself failed; None: raise.
        `backend` and `sandbox` are keys of `[sandbox]`: `containers=8`, `cpu_limit_s=2`.

        Raises `ProblemError`, `MissingEngine`, `UserError`, and pydantic's `ValidationError`.
        """
        if kind not in get_args(Kind):
            known = ", ".join(get_args(Kind))
            raise UserError(f"kind = {kind!r} is no kind of reward; use one of {known}")
        self.__name__ = "unit_tests"  # trainers log a function by its name
        self._problems = _by_id(problems)
        self._kind: Kind = kind
        self._column = column
        self._fence_open = fence_open
        self._fault_reward = fault_reward
        self._pool = BackgroundPool(backend=backend, **sandbox)

    # ── the trainers' call shapes ────────────────────────────────────────────────────────────

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
    ) -> list[float]:
        """Return a reward for each completion, as TRL's `reward_funcs` do.

        Prompts and completions are texts or lists of messages. Raises `UserError` for a data set
        without the column and for an unknown problem, and `SandboxFault`.
        """
        ids = columns.get(self._column)
        if ids is None:
            raise UserError(
                f"the data set has no column {self._column!r} ({', '.join(columns) or 'no columns'}"
                " seen); add one with the ids of the problems, or name yours by column="
            )
        works = [
            self._work(problem_id, completion, prompt)
            for problem_id, completion, prompt in zip(ids, completions, prompts, strict=True)
        ]
        return [self._reward(verdict) for verdict in self._pool.judge_all(works)]

    def verl(
        self,
        data_source: str,
        solution_str: str,
        ground_truth: Any,
        extra_info: Mapping[str, Any] | None = None,
        **_others: Any,
    ) -> float:
        """Return one answer's reward: verl's `custom_reward_function`.

        The problem is `extra_info[column]`, else `ground_truth`.
        """
        del data_source
        work = self._work(self._id_of(extra_info, ground_truth), solution_str)
        return self._reward(self._pool.judge_all([work])[0])

    def verl_batch(
        self,
        data_sources: Sequence[str],
        solution_strs: Sequence[str],
        ground_truths: Sequence[Any],
        extra_infos: Sequence[Mapping[str, Any] | None],
        **_others: Any,
    ) -> list[float]:
        """Return the rewards of a batch, judged together: for verl's `batch` reward manager."""
        del data_sources
        works = [
            self._work(self._id_of(extra, truth), solution)
            for solution, truth, extra in zip(
                solution_strs, ground_truths, extra_infos, strict=True
            )
        ]
        return [self._reward(verdict) for verdict in self._pool.judge_all(works)]

    async def verifiers(
        self,
        completion: Any,
        answer: Any = None,
        info: Mapping[str, Any] | None = None,
        **_others: Any,
    ) -> float:
        """Return one rollout's reward, as a function of a verifiers `Rubric`.

        The problem is `info[column]`, else `answer`.
        """
        return await self.score(self._id_of(info, answer), completion)

    async def score(self, problem_id: str, completion: Any) -> float:
        """Return the reward of one completion, a text or messages, in any event loop."""
        future = await asyncio.to_thread(self._pool.submit, self._work(problem_id, completion))
        try:
            verdict: Verdict | BaseException = await asyncio.wrap_future(future)
        except SandboxFault as fault:
            verdict = fault
        return self._reward(verdict)

    # ── its life ─────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """End the sandbox. A reward that is asked for later raises `SandboxFault`."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    # ── one completion ───────────────────────────────────────────────────────────────────────

    def _id_of(self, columns: Mapping[str, Any] | None, otherwise: Any) -> Any:
        return (columns or {}).get(self._column, otherwise)

    def _work(self, problem_id: Any, completion: Any, prompt: Any = "") -> Work:
        problem = self._problems.get(problem_id) if isinstance(problem_id, str) else None
        if problem is None:
            raise UserError(
                f"no problem {problem_id!r} among the {len(self._problems)} of this reward "
                f"(the first is {next(iter(self._problems))!r}); {self._column} holds their ids"
            )
        fence_open = self._fence_open
        if fence_open is None:
            fence_open = ends_in_open_fence(_text_of(prompt, "prompt"))
        source = program_of(_text_of(completion, "completion"), fence_open=fence_open)
        return Work(source, problem.tests, problem.problem_id)

    def _reward(self, verdict: Verdict | BaseException) -> float:
        if isinstance(verdict, SandboxFault) and self._fault_reward is not None:
            return self._fault_reward
        if isinstance(verdict, BaseException):
            raise verdict
        if self._kind == "pass_share":
            return verdict.tests_passed / max(len(verdict.tests), 1)
        return reward(verdict, self._kind)


def _by_id(problems: str | Path | Iterable[Problem]) -> dict[str, Problem]:
    """Return the problems by id, all of which can be judged. Raises `ProblemError`."""
    if isinstance(problems, str | Path):
        problems = problem_sets.load(problems)
    found: dict[str, Problem] = {}
    for problem in problems:
        if not isinstance(problem, Problem):
            raise ProblemError(
                f"a problem is a {type(problem).__name__}, not a Problem; give the path of a set, "
                "or read rows with stepcoder_dist.problems.problem_from_row"
            )
        try:
            check_suite(problem.tests)
        except ProblemError as error:
            raise ProblemError(f'problem "{problem.problem_id}": {error}') from None
        if found.setdefault(problem.problem_id, problem) != problem:
            raise ProblemError(f'problem "{problem.problem_id}" is there twice, with other tests')
    if not found:
        raise ProblemError("there are no problems; give at least one")
    return found


def _text_of(answer: Any, what: str) -> str:
    """Return a text, or that of the last message: objects or dictionaries with `content`.

    Of a completion it is the assistant's last message: a tool may have answered after it.
    """
    if isinstance(answer, str):
        return answer
    if not isinstance(answer, Sequence):
        raise UserError(f"a {what} is a {type(answer).__name__}, neither text nor messages")
    messages = [m for m in answer if _field(m, "role") in {"assistant", None}]
    if what == "prompt":  # an answer that was begun for the policy, or nothing that matters here
        messages = [m for m in answer[-1:] if _field(m, "role") == "assistant"]
    content = _field(messages[-1], "content") if messages else ""
    if isinstance(content, str) or content is None:
        return content or ""
    return "".join(str(_field(part, "text") or "") for part in content)


def _field(record: Any, name: str) -> Any:
    return record.get(name) if isinstance(record, Mapping) else getattr(record, name, None)
