"""Reads a GGUF file: its metadata, and its tensors as float32.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (version 3), as far as the models of
`make_model.py` need it: tensors in F32, F16, Q8_0 and Q4_1.

    Q4_1   32 weights in 20 bytes: step d and minimum m (float16), then 4 bits q a weight;
           w = d q + m, first the low halves of the 16 bytes, then the high ones
    Q8_0   32 weights in 34 bytes: step d (float16), then q (int8) a weight; w = d q
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

_SCALARS = dict(enumerate(("B", "b", "H", "h", "I", "i", "f", "?", "", "", "Q", "q", "d")))
"""Formats of `struct`, by GGUF's number of a value's type; 8 is a text, 9 a list."""
_TEXT, _LIST = 8, 9
_F32, _F16, _Q4_1, _Q8_0 = 0, 1, 3, 8
_BLOCK = 32
"""Weights that share a step."""
_HALF = np.dtype("<f2")
_Q4_1_BLOCK = np.dtype([("d", _HALF), ("m", _HALF), ("q", "u1", _BLOCK // 2)])
_Q8_0_BLOCK = np.dtype([("d", _HALF), ("q", "i1", _BLOCK)])
_STORED = {_F32: np.dtype("<f4"), _F16: _HALF, _Q4_1: _Q4_1_BLOCK, _Q8_0: _Q8_0_BLOCK}


class GgufError(Exception):
    """The file is no GGUF, or holds what is not read here."""


@dataclass(frozen=True, slots=True, eq=False)
class GgufTensor:
    """A tensor as it is stored."""

    shape: tuple[int, ...]
    """Rows first, as PyTorch has it."""
    blocks: npt.NDArray[Any]
    """Numbers, or blocks of numbers with a common step."""

    def weights(self) -> Float32:
        """Return the weights, in `shape`."""
        if self.blocks.dtype == _Q4_1_BLOCK:
            q = self.blocks["q"]
            q = np.concatenate([q & 15, q >> 4], axis=1).astype(np.float32)
            flat = self._steps() * q + self.blocks["m"].astype(np.float32)[:, None]
        elif self.blocks.dtype == _Q8_0_BLOCK:
            flat = self._steps() * self.blocks["q"].astype(np.float32)
        else:
            flat = self.blocks.astype(np.float32)
        return flat.reshape(self.shape)

    @property
    def squared_rounding(self) -> float:
        """The expected sum of squared rounding errors: d²/12 a weight, 0 where nothing is rounded.

        This takes what was rounded to be spread evenly within a step.
        """
        if self.blocks.dtype.names is None:
            return 0.0
        return float((self._steps().astype(np.float64) ** 2).sum()) * _BLOCK / 12

    def _steps(self) -> Float32:
        return self.blocks["d"].astype(np.float32)[:, None]


@dataclass(frozen=True, slots=True)
class GgufFile:
    metadata: dict[str, Any]
    tensors: dict[str, GgufTensor]


def read(data: bytes) -> GgufFile:
    """Read a file's bytes. Raises `GgufError`."""
    try:
        return _read(_Cursor(data))
    except (struct.error, UnicodeDecodeError, KeyError, ValueError) as error:
        raise GgufError(f"the GGUF file is cut off or damaged: {error!r}") from None


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def number(self, kind: str) -> Any:
        (value,) = struct.unpack_from(f"<{kind}", self.data, self.at)
        self.at += struct.calcsize(f"<{kind}")
        return value

    def text(self) -> str:
        length = self.number("Q")
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def value(self, kind: int) -> Any:
        if kind == _TEXT:
            return self.text()
        if kind != _LIST:
            return self.number(_SCALARS[kind])
        inner, length = self.number("I"), self.number("Q")
        return [self.value(inner) for _ in range(length)]


def _read(cursor: _Cursor) -> GgufFile:
    magic, version = cursor.data[:4], struct.unpack_from("<I", cursor.data, 4)[0]
    if magic != b"GGUF" or version != 3:  # noqa: PLR2004
        raise GgufError(
            f"begins with {magic!r}, version {version}; a GGUF file of version 3 is read"
        )
    cursor.at = 8
    tensors, keys = cursor.number("Q"), cursor.number("Q")
    metadata = {}
    for _ in range(keys):
        name = cursor.text()
        metadata[name] = cursor.value(cursor.number("I"))
    described = []
    for _ in range(tensors):
        name, dimensions = cursor.text(), cursor.number("I")
        shape = tuple(cursor.number("Q") for _ in range(dimensions))[::-1]
        described.append((name, shape, cursor.number("I"), cursor.number("Q")))
    alignment = metadata.get("general.alignment", 32)
    begin = -(-cursor.at // alignment) * alignment
    found = {}
    for name, shape, kind, offset in described:
        if kind not in _STORED:
            raise GgufError(f"tensor {name} is of type {kind}; read are {sorted(_STORED)}")
        dtype = _STORED[kind]
        count = math.prod(shape) // (_BLOCK if dtype.names else 1)
        found[name] = GgufTensor(shape, np.frombuffer(cursor.data, dtype, count, begin + offset))
    return GgufFile(metadata, found)
