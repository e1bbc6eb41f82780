"""The driver's side of a checkpoint: the ranks copy together, then each writes while all go on.

No rank waits for another's disk in a collective: the ranks' sums come here as answers, and go to
rank 0 with its last call. A slow disk cannot run into the time-out of a collective.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from learner.rank_group import RankGroup
from stepcoder_dist.errors import LearnerError

WRITE_LIMIT_S = 3600.0
"""How long the ranks may write one checkpoint: 20 GB each take 3 minutes at 100 MB/s."""


async def take(ranks: RankGroup, folder: str, *, copied: bool) -> Coroutine[Any, Any, None]:
    """Take the ranks' states as they are now; await what is returned to have them in `folder`.

    With `copied` the ranks are free when this returns, and their host memory holds a copy until it
    is written. Without, they write before this returns. Both raise `LearnerError`.
    """
    await ranks.call("take_checkpoint", folder, copied)
    return _write(ranks, folder)


async def _write(ranks: RankGroup, folder: str) -> None:
    try:
        async with asyncio.timeout(WRITE_LIMIT_S):
            sums = await ranks.call("write_checkpoint", folder, aside=True)
            await ranks.call_one(0, "finish_checkpoint", folder, sums, aside=True)
    except TimeoutError:
        raise LearnerError(
            f"{folder}: the learner's ranks did not write the checkpoint within "
            f"{WRITE_LIMIT_S:.0f} s; those before it are as they were"
        ) from None
