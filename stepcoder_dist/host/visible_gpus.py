"""Which GPUs of its machine a process may see.

Ray does not set `CUDA_VISIBLE_DEVICES` in a process that reserves no GPU, which then sees them all.
Nor does it in any process where `RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES` is set: all would
compute on the first GPU. So each process sets the variable itself, before it imports torch.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

VARIABLE = "CUDA_VISIBLE_DEVICES"


def show_only(reserved: Sequence[int | str]) -> None:
    """Let this process see the GPUs that were reserved for it (`ray.get_gpu_ids`), or none."""
    os.environ[VARIABLE] = ",".join(map(str, reserved))
