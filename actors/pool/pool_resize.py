"""How the pool of rollout actors grows and shrinks while a run lives.

An actor that comes gets the current weights before its first share, as a replacement does. One
that goes takes no more shares and finishes those that it has; what it has not finished in time
is sampled elsewhere. The last call counts: it takes actors away that an earlier one is starting.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

import ray

from actors.pool.pool_slot import Place, Slot
from actors.pool.slot_keeper import SlotKeeper, not_started
from stepcoder_dist.errors import RunError

logger = logging.getLogger(__name__)


async def resize(
    slots: list[Slot], keeper: SlotKeeper, number: int, leave_timeout_s: float
) -> None:
    """Change `slots` in place; return when what comes is ready and what goes is gone.

    Raises `RunError` for actors that do not start, which leave the pool, or that a later call took
    away.
    """
    await _remove(slots, keeper, [slot for slot in slots if slot.place is Place.FAILED])
    staying = [slot for slot in slots if not slot.leaving]
    if number < len(staying):
        # what works stays, and of that what has the most to do; low numbers have bundles
        staying.sort(key=lambda slot: (slot.place is not Place.READY, -slot.load, slot.index))
        await _take_away(slots, keeper, staying[number:], leave_timeout_s)
        return
    taken = {slot.index for slot in slots}
    free = (index for index in range(number + len(slots)) if index not in taken)
    slots += (
        Slot(f"rollout-{index}", index)
        for index, _ in zip(free, range(number - len(staying)), strict=False)
    )
    coming = [slot for slot in slots if not slot.leaving and not slot.joined]
    await keeper.bring_up(coming)
    if failed := [slot for slot in coming if slot.place is Place.FAILED]:
        error = not_started(failed)
        await _remove(slots, keeper, failed)
        raise error
    if any(slot.leaving for slot in coming):
        raise RunError(f"a later command took away rollout actors that were to make it {number}")


async def _take_away(
    slots: list[Slot], keeper: SlotKeeper, gone: Sequence[Slot], leave_timeout_s: float
) -> None:
    for slot in gone:
        slot.leaving = True
        if not slot.load:
            slot.idle.set()
    try:
        async with asyncio.timeout(leave_timeout_s):
            await asyncio.gather(*(slot.idle.wait() for slot in gone))
    except TimeoutError:
        _give_up(gone)
    except asyncio.CancelledError:  # nobody else would end them
        _give_up(gone)
        await _remove(slots, keeper, gone)
        raise
    await _remove(slots, keeper, gone)


def _give_up(gone: Sequence[Slot]) -> None:
    """Kill those that have work: their shares fail, and are sampled elsewhere."""
    for slot in gone:
        if slot.load:
            logger.warning("%s goes with %d samples unfinished", slot.name, slot.load)
            ray.kill(slot.handle)


async def _remove(slots: list[Slot], keeper: SlotKeeper, gone: Sequence[Slot]) -> None:
    await keeper.end_all(gone)
    for slot in gone:
        with contextlib.suppress(ValueError):  # a later call may have removed it
            slots.remove(slot)
