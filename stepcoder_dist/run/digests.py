"""Digests of what a run is made from: the problems with their tests, the starting weights.

A run file names files. Their content can change under the same name. A resumed run would then mix
two experiments, and a kept result would no longer be that of its files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from stepcoder_dist.host import model_source
from stepcoder_dist.host.files import file_digest
from stepcoder_dist.problems.own_format import row_from_problem
from stepcoder_dist.records import Problem

_LETTERS = 16


def of_problems(problems: Iterable[Problem]) -> str:
    """Return the digest of the rows as a file holds them: without fields at their defaults."""
    digest = hashlib.sha256()
    for number, problem in enumerate(problems):
        row = json.dumps(row_from_problem(problem), sort_keys=True)
        digest.update((("\n" if number else "") + row).encode())
    return digest.hexdigest()[:_LETTERS]


def of_weights(checkpoint: str | Path) -> str:
    """Return the digest of a model's weights; empty where they are not files of this machine."""
    folder = model_source.find(checkpoint).folder
    files = [] if folder is None else sorted(folder.glob("*.safetensors"))
    digest = hashlib.sha256()
    for file in files:
        file_digest.update(digest, file)
    return digest.hexdigest()[:_LETTERS] if files else ""


def sources(problems: Iterable[Problem], checkpoint: str) -> Mapping[str, str]:
    """Return digests of what a run's samples and gradients come from, for its checkpoints."""
    return {
        "the training problems": of_problems(problems),
        "the starting checkpoint": of_weights(checkpoint),
    }
