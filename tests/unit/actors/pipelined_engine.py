"""A vLLM engine as it is on GPUs: scheduling runs a batch ahead of the outputs.

It follows `EngineCore.step_with_batch_queue` of vLLM 0.32 with two batches in flight. The first
step of an idle engine gives nothing. A request ends at a token that its next batch is computed
without knowing, so one stale batch is left when the last request has ended.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from vllm import SamplingParams
from vllm.outputs import CompletionOutput, RequestOutput

IN_FLIGHT = 2


@dataclass(eq=False)
class Sampled:
    """One request: it samples the number of the weights that are in the model."""

    prompt: list[int]
    params: SamplingParams
    tokens: list[int] = field(default_factory=list)
    num_preemptions: int = 0


class PipelinedEngine:
    """What `VllmSampler` calls of an `LLMEngine`; it asserts what a GPU would punish."""

    def __init__(self) -> None:
        self.requests: dict[str, Sampled] = {}
        self.batches: deque[dict[str, int]] = deque()
        """What each batch in flight sampled, the oldest at the right."""
        self.empty_steps = 0
        self.stale = 0
        """Tokens of requests that had ended."""
        self.asleep: set[str] = set()
        self.weights = 0
        self.version = "0"
        self.updating = False
        self.calls: list[str] = []
        self.may_step = threading.Event()
        """A test that clears it holds the engine in its next step."""
        self.may_step.set()
        self.scheduler = self
        self.engine_core = SimpleNamespace(engine_core=self, shutdown=self.batches.clear)

    # ---- requests ----

    def add_request(self, name: str, prompt: dict[str, Any], params: SamplingParams) -> None:
        assert not self.asleep
        self.requests[name] = Sampled(prompt["prompt_token_ids"], params)

    def abort_request(self, names: list[str]) -> None:
        for name in names:
            self.requests.pop(name, None)

    def step(self) -> list[RequestOutput]:
        self.may_step.wait()
        if self.requests:
            assert not self.asleep
            assert not self.updating
            self.batches.appendleft(dict.fromkeys(self.requests, self.weights))
            if len(self.batches) < IN_FLIGHT:
                self.empty_steps += 1
                return []
        elif not self.batches:
            return []
        outputs = [self._sampled(name, token) for name, token in self.batches.pop().items()]
        return [output for output in outputs if output is not None]

    def _sampled(self, name: str, token: int) -> RequestOutput | None:
        request = self.requests.get(name)
        if request is None:
            self.stale += 1
            return None
        request.tokens.append(token)
        if len(request.tokens) < request.params.max_tokens:
            return None
        del self.requests[name]
        return _output(name, request, self.version)

    # ---- the scheduler's figures ----

    def get_request_counts(self) -> tuple[int, int]:
        return len(self.requests), 0

    def get_kv_cache_usage(self) -> float:
        return min(1.0, len(self.requests) / 8)

    # ---- memory and weights ----

    def sleep(self, level: int) -> None:
        assert not self.requests
        self.calls.append(f"sleep {level}")
        self.asleep = {"weights", "kv_cache"}

    def wake_up(self, tags: list[str]) -> None:
        self.calls.append(f"wake {tags[0]}")
        self.asleep -= set(tags)

    def collective_rpc(self, name: str, args: tuple[Any, ...] = ()) -> list[Any]:
        assert "weights" not in self.asleep
        assert not self.requests
        self.updating = name in ("start_weight_update", "update_weights")
        if name == "update_weights":
            self.weights = args[0]["bucket"].version
        return []

    def reset_prefix_cache(self) -> bool:
        return not self.requests

    def set_weight_version(self, version: str) -> None:
        self.version = version


def _output(name: str, request: Sampled, version: str) -> RequestOutput:
    count = len(request.tokens)
    sampled = CompletionOutput(
        index=0,
        text="",
        token_ids=request.tokens,
        cumulative_logprob=None,
        logprobs=SimpleNamespace(logprobs=[-1.0] * count),  # type: ignore[arg-type]
        finish_reason="length",
        weight_versions=[SimpleNamespace(version=version)],  # type: ignore[list-item]
    )
    prompt_logprobs = [None, *({i: SimpleNamespace(logprob=-2.0)} for i in request.prompt[1:])]
    return RequestOutput(name, None, request.prompt, prompt_logprobs, [sampled], finished=True)  # type: ignore[arg-type]
