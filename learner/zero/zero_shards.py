"""What other ranks have saved, or another ZeRO stage: each rank reads its own part of their files.

At stages 1 to 3 DeepSpeed's file of a rank has one vector for each group of parameters, of the
master weights and of either of Adam's moments: its share of the parameters, laid one after the
other. Which elements of which parameter those are, `Piece` says. Values are copied as they are.
The weights that the forward pass uses are the masters, rounded, as after every update.

Files are mapped into memory: a rank reads the pages that it needs, and nothing is written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from learner.zero.host_states import ZERO_3
from stepcoder_dist.errors import LearnerError

_MASTER = "fp32"
_MOMENTS = ("exp_avg", "exp_avg_sq")
_SPLIT = ("fp32_flat_groups", "optimizer_state_dict")
_BELOW = ("single_partition_of_fp32_groups", "base_optimizer_state")
"""Where a file has the masters and Adam's state: at stage 3, and below it."""
_SHARD = re.compile(r"zero_pp_rank_(\d+)_mp_rank_00_optim_states\.pt$")


@dataclass(frozen=True, slots=True)
class Piece:
    """Elements of one parameter that are together in a rank's vectors."""

    name: str
    begin: int
    """The first of them, in the flat parameter."""
    count: int
    group: int
    offset: int
    """Where it is in the group's vectors."""

    def within(self, begin: int, end: int, vector: Tensor) -> Tensor:
        """Return elements begin … end−1 of the flat parameter, in a vector of the group: a view."""
        return vector[self.offset + begin - self.begin : self.offset + end - self.begin]


@dataclass(frozen=True, slots=True)
class _Shard:
    """The file of one rank."""

    pieces: list[Piece]
    vectors: list[dict[str, Tensor]]
    """By group. Before its first update an optimizer has no moments."""
    steps: list[Any]
    """Adam's count of updates, by group; none before the first."""


def fits(engine: Any, folder: Path) -> bool:
    """Return whether DeepSpeed itself reads the files: of as many ranks, and of this stage.

    Raises `LearnerError` where they do not fit and one side is DeepSpeed's `BF16_Optimizer`, of
    stages 0 and 1 in bfloat16: its files do not say which rank has what.
    """
    files = _files(folder)
    if not files or not engine.zero_optimization():
        return True  # without ZeRO there is one file, of all that every rank has
    saved = _opened(files[0]).get("zero_stage")
    own = (
        None
        if type(engine.optimizer).__name__ == "BF16_Optimizer"
        else engine.zero_optimization_stage()
    )
    if saved == own and len(files) == torch.distributed.get_world_size():
        return True
    if saved is None or own is None:
        raise LearnerError(
            f"{folder}: with stages 0 and 1 in bfloat16 a checkpoint is resumed on as many ranks, "
            f"and at one of these stages, only; it was saved by {len(files)} ranks. Other numbers "
            "of ranks need learner.zero_stage = 2 or 3 from the start"
        )
    return False


def load(engine: Any, folder: Path) -> None:
    """Fill the engine. A collective. Raises `LearnerError` where a value is missing."""
    optimizer = engine.optimizer
    found = _Found(folder)
    live = optimizer.state_dict()
    split = engine.zero_optimization_stage() == ZERO_3
    masters, adam = _SPLIT if split else _BELOW
    pieces = list(_pieces_split(optimizer) if split else _pieces_below(optimizer))
    held = (
        optimizer.fp32_partitioned_groups_flat
        if split
        else optimizer.single_partition_of_fp32_groups
    )
    sizes = [vector.numel() for vector in held]
    live[masters] = found.vectors(_MASTER, pieces, sizes)
    live[adam]["state"] = found.adam(pieces, sizes)
    if split:
        optimizer.checkpoint_event_prologue()
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    optimizer.load_state_dict(
        [live if each == rank else None for each in range(ranks)], load_from_fp32_weights=True
    )
    if split:
        optimizer.checkpoint_event_epilogue()
    else:
        optimizer.update_lp_params()
    for counter in ("global_steps", "skipped_steps"):
        setattr(engine, counter, found.module[counter])


class _Found:
    """All shards of a folder, as one set of parameters."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # stage 3: each rank has written one, with the same counts and shapes
        self.module: Any = _mapped(min(folder.glob("*mp_rank_00_model_states.pt")))
        files = _files(folder)
        shapes = self.module["param_shapes"]
        self._ends: dict[str, int] = {}
        self._shards = [
            self._read(_opened(file), shapes, rank, len(files)) for rank, file in enumerate(files)
        ]
        self._places: dict[str, list[tuple[Piece, _Shard]]] = {}
        for shard in self._shards:
            for piece in shard.pieces:
                self._places.setdefault(piece.name, []).append((piece, shard))

    def vectors(self, key: str, pieces: list[Piece], sizes: list[int]) -> list[Tensor]:
        """Return what belongs into vectors of these sizes, by group.

        They are float32, with zeros at the end.
        """
        made = [torch.zeros(size) for size in sizes]
        for piece in pieces:
            self._copy(key, piece, made[piece.group])
        return made

    def adam(self, pieces: list[Piece], sizes: list[int]) -> dict[int, dict[str, Any]]:
        """Return the optimizer's state by group, as `torch.optim.AdamW` takes it."""
        steps = [step for shard in self._shards for step in shard.steps]
        if not steps:
            return {}
        if any(int(step) != int(steps[0]) for step in steps):
            raise LearnerError(f"{self._folder}: its files count different numbers of updates")
        moments = {key: self.vectors(key, pieces, sizes) for key in _MOMENTS}
        return {
            group: {"step": steps[0].clone(), **{key: moments[key][group] for key in _MOMENTS}}
            for group in range(len(sizes))
        }

    def _read(self, state: Any, shapes: list[dict[str, Any]], rank: int, ranks: int) -> _Shard:
        pieces: list[Piece] = []
        split = state["zero_stage"] == ZERO_3
        if split:
            for group, inside in enumerate(shapes):
                numels = {name: math.prod(shape) for name, shape in inside.items()}
                pieces += _shares(numels, group, rank, ranks)
        else:
            for group, places in enumerate(state["param_slice_mappings"]):
                for name, place in places.items():
                    begin = self._ends.get(name, 0)  # where the rank before it ends
                    self._ends[name] = begin + place.numel
                    pieces.append(Piece(name, begin, place.numel, group, place.start))
        masters, adam = _SPLIT if split else _BELOW
        states = state[adam]["state"]
        vectors = [
            {_MASTER: master} | {key: states[group][key] for key in _MOMENTS if group in states}
            for group, master in enumerate(state[masters])
        ]
        return _Shard(pieces, vectors, [each["step"] for each in states.values()])

    def _copy(self, key: str, wanted: Piece, vector: Tensor) -> None:
        copied = 0
        for piece, shard in self._places.get(wanted.name, []):
            begin = max(piece.begin, wanted.begin)
            end = min(piece.begin + piece.count, wanted.begin + wanted.count)
            if begin < end:
                saved = piece.within(begin, end, shard.vectors[piece.group][key])
                wanted.within(begin, end, vector).copy_(saved)
                copied += end - begin
        if copied != wanted.count:
            raise LearnerError(
                f"{self._folder}: {copied} of {wanted.count} values of {wanted.name} ({key}) are "
                "there; the checkpoint is of another model, or of another version of DeepSpeed"
            )


def _pieces_below(optimizer: Any) -> Iterator[Piece]:
    """Yield what this rank holds at stages 1 and 2: shares of groups, which may cut parameters."""
    for group, parameters in enumerate(optimizer.bit16_groups):
        for parameter in parameters:
            mapping = parameter._hp_mapping  # noqa: SLF001 (DeepSpeed's own name for it)
            if mapping is not None:
                here, there = mapping.lp_fragment_address, mapping.get_hp_fragment_address()
                name = optimizer.param_names[parameter]
                yield Piece(name, here.start, here.numel, group, there.start)


def _pieces_split(optimizer: Any) -> Iterator[Piece]:
    """Yield what this rank holds at stage 3: its share of every parameter."""
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    for group, parameters in enumerate(optimizer.fp16_groups):
        sizes = {optimizer.param_names[p]: p.ds_numel for p in parameters}
        yield from _shares(sizes, group, rank, ranks)


def _shares(sizes: dict[str, int], group: int, rank: int, ranks: int) -> Iterator[Piece]:
    """Yield equal shares of each parameter; the last are filled up, or are nothing but filling."""
    offset = 0
    for name, size in sizes.items():
        share = -(-size // ranks)
        begin = min(rank * share, size)
        yield Piece(name, begin, min(share, size - begin), group, offset)
        offset += share


def _opened(file: Path) -> Any:
    return _mapped(file)["optimizer_state_dict"]


def _mapped(file: Path) -> Any:
    # our own file, checked against the manifest; DeepSpeed puts plain objects into it
    return torch.load(file, map_location="cpu", mmap=True, weights_only=False)


def _files(folder: Path) -> list[Path]:
    """Return the shards in the order of their ranks."""
    ranks = {int(m[1]): path for path in folder.iterdir() if (m := _SHARD.search(path.name))}
    return [ranks[rank] for rank in sorted(ranks)]
