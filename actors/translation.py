"""Our requests as vLLM's sampling parameters, and vLLM's outputs as our records."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer
from vllm import SamplingParams
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind

from actors.char_spans import decode_with_spans
from stepcoder_dist.errors import RunError
from stepcoder_dist.records import Completion, RolloutRequest, WeightProbe, WeightVersion
from stepcoder_dist.text.program import assemble
from stepcoder_dist.text.token_lines import token_lines


def sampling_params(request: RolloutRequest, eos_ids: Sequence[int]) -> SamplingParams:
    """Return parameters for one sample, delivered once, with each sampled token's log-prob only."""
    return SamplingParams(
        temperature=request.temperature,
        top_p=request.top_p,
        max_tokens=request.max_new_tokens,
        seed=request.ticket.seed,
        logprobs=0,
        flat_logprobs=True,
        stop_token_ids=list(eos_ids),
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def probe_params() -> SamplingParams:
    """Return parameters for the prompt's own log-probs: a log-softmax without the temperature."""
    return SamplingParams(
        temperature=0.0,
        max_tokens=1,
        prompt_logprobs=0,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def completion_of(
    request: RolloutRequest,
    output: RequestOutput,
    *,
    tokenizer: Tokenizer,
    actor: str,
    seconds: float,
    added_under: WeightVersion,
) -> Completion:
    """Return vLLM's output as our record.

    `added_under`: the weights at the time when the engine got the request. It may have read a
    prefix that they cached, also where later ones made its first token.

    Raises `RunError` for an output that neither ended nor reached its limit.
    """
    (sampled,) = output.outputs
    ids = list(sampled.token_ids)
    if sampled.finish_reason not in ("stop", "length") or not sampled.weight_versions:
        raise RunError(
            f"sample {request.ticket.sample_id} ended with {sampled.finish_reason!r} and the "
            f"weight versions {sampled.weight_versions!r}"
        )
    ended = sampled.finish_reason == "stop"
    printed = ids[:-1] if ended else ids
    text, spans = decode_with_spans(tokenizer, request.prompt_ids.tolist(), printed)
    if ended:
        spans = np.vstack([spans, np.full((1, 2), len(text), dtype=np.int32)])
    program = assemble(request.given, text)
    versions = [added_under, *(int(span.version) for span in sampled.weight_versions)]
    return Completion(
        sample_id=request.ticket.sample_id,
        text=text,
        token_ids=np.asarray(ids, dtype=np.int32),
        char_spans=spans,
        logprobs=np.asarray(sampled.logprobs.logprobs, dtype=np.float32),
        program=program,
        token_lines=token_lines(program, text, spans, ended=ended),
        ended=ended,
        oldest_weights=min(versions),
        newest_weights=max(versions),
        actor=actor,
        seconds=seconds,
    )


def probe_of(
    token_ids: Sequence[int], output: RequestOutput, version: WeightVersion
) -> WeightProbe:
    """Return the log-probs of tokens 1…n−1, each given those before it."""
    positions = zip(token_ids[1:], output.prompt_logprobs[1:], strict=True)
    return WeightProbe(
        version=version,
        logprobs=tuple(float(position[token].logprob) for token, position in positions),
    )
