"""A model's weights as an ordinary Hugging Face folder, gathered from all ranks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from learner.lora import peft_folder
from learner.push import weight_buckets
from learner.zero import zero_engine
from stepcoder_dist.config import LoraConfig
from stepcoder_dist.host.files import draft_folder
from stepcoder_dist.text import tokenizer_files

RECORD = "stepcoder.json"
"""The file next to the weights that says how they were made."""


def write(
    causal_lm: Any,
    source: str,
    folder: Path,
    *,
    rank: int,
    lora: LoraConfig | None = None,
    record: Mapping[str, Any] | None = None,
) -> None:
    """Write config, weights and the tokenizer of `source`; the folder appears atomically.

    Adapters are merged into the weights, and with `lora` written next to them (`adapter/`). A
    `record`, plain JSON data, goes with them as `stepcoder.json`, with the weights' SHA-256.

    A collective: every rank calls it, rank 0 writes. Parameters are gathered one at a time, so a
    rank never holds more than its share and one complete parameter (rank 0: one copy on the CPU).
    """
    state: dict[str, torch.Tensor] = {}
    # tied parameters appear once, under their first name, as in any Hugging Face folder
    for named in weight_buckets.named_parameters(causal_lm):
        with zero_engine.gathered(named.parts):
            if rank == 0:
                state[named.name] = named.complete().to("cpu", copy=True).contiguous()
    adapter: dict[str, torch.Tensor] = {}
    for name, parameter in peft_folder.parameters(causal_lm).items():
        with zero_engine.gathered([parameter]):
            if rank == 0:
                adapter[name] = parameter.detach().to("cpu", copy=True)
    if rank == 0:
        save(causal_lm, state, source, folder, lora=lora, adapter=adapter, record=record)
    torch.distributed.barrier()


def save(
    causal_lm: Any,
    state: Mapping[str, torch.Tensor],
    source: str,
    folder: Path,
    *,
    lora: LoraConfig | None = None,
    adapter: Mapping[str, torch.Tensor] | None = None,
    record: Mapping[str, Any] | None = None,
) -> None:
    """The part of `write` that one process does, with the parameters gathered in `state`.

    `adapter` has those of the adapters under peft's names.
    """
    draft = draft_folder.begin(folder)
    _drop_unsaveable_generation_config(causal_lm)
    causal_lm.save_pretrained(str(draft), state_dict=dict(state))
    tokenizer_files.copy(source, draft)
    if lora is not None and adapter:
        peft_folder.write(draft / peft_folder.FOLDER, adapter, lora, source)
    if record is not None:
        text = json.dumps({**record, "sha256": weights_sha256(draft)}, indent=1)
        (draft / RECORD).write_text(text + "\n", encoding="utf-8")
    draft_folder.commit(draft)


def _drop_unsaveable_generation_config(causal_lm: Any) -> None:
    """Leave out a generation config that transformers loads but refuses to save.

    It may have a temperature without sampling, for example. The file of the source is copied as it
    is (`tokenizer_files.copy`).
    """
    try:
        causal_lm.generation_config.validate(strict=True)
    except ValueError:
        causal_lm.generation_config = type(causal_lm.generation_config)()


def weights_sha256(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every safetensors file, by name."""
    digests = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests
