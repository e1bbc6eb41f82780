"""The proof that a run's ledger balances: a sample is planned once and ends once, a problem is not
skipped, and exactly what was trained has a reward.

The fold finds what contradicts itself or the plan. Here its account is compared with two files that
it was not made from: samples.jsonl, and the newest checkpoint.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from stepcoder_dist.loop.book.lines import NON_FINITE, Fate
from stepcoder_dist.loop.filling import flat_groups
from stepcoder_dist.loop.planner import is_spare
from stepcoder_dist.run.account.ledger_fold import Account, Sample

FINAL_REASONS = frozenset({"filtered", "quarantined", NON_FINITE, flat_groups.WHY})
"""Rejections after which nothing is sampled in the sample's place."""


def check_slots(account: Account) -> None:
    """Check that a place of a group is filled once: a lost sample's by its replacement.

    A place is the sample that the plan asks for, with the `+` samples that followed it.
    """
    slots: dict[str, dict[str, Sample]] = defaultdict(dict)
    for sample_id, sample in account.samples.items():
        slots[sample_id.partition("+")[0]][sample_id] = sample
    for slot, samples in slots.items():
        name = account.name(slot)
        lost = [each for each in samples.values() if each.fate in (Fate.FAULT, Fate.REJECTED)]
        trained = [i for i, each in samples.items() if each.fate is Fate.TRAINED]
        if slot not in samples and account.head.step > 0:
            continue  # planned before the account begins
        if slot not in samples:
            account.violations.append(f"{name}: never planned, and {min(samples)} replaces it")
        elif len(trained) > 1:
            twice = " and as ".join(sorted(trained))
            account.violations.append(f"{name}: trained twice, as {twice}")
        elif len(samples) - 1 > len(lost):
            account.violations.append(
                f"{name}: sampled {len(samples)} times and lost {len(lost)} times"
            )
        elif len(lost) == len(samples) and not any(_is_final(account, each) for each in lost):
            account.violations.append(f"{name}: lost, and no sample took its place")


def check_spares(account: Account) -> None:
    """Check that a group in the place of a flat one is there for each flat one, step by step."""
    flat: Counter[str] = Counter()
    spare: Counter[str] = Counter()
    for sample_id, sample in account.samples.items():
        step = sample_id.partition("-")[0]
        flat[step] += sample.why == flat_groups.WHY
        spare[step] += is_spare(sample_id) and "+" not in sample_id
    for step in sorted(flat.keys() | spare.keys()):
        if flat[step] != spare[step] and account.head.step == 0:
            account.violations.append(
                f"step {int(step.removeprefix('s')) + 1}: {flat[step]} samples of groups that "
                f"scored alike, and {spare[step]} in their place"
            )


def _is_final(account: Account, sample: Sample) -> bool:
    """Nothing has to take the place of this lost sample: by its reason, or as the run ended."""
    return sample.why in FINAL_REASONS or sample.ended > account.last_step


def check_rewards(account: Account, rewarded: Iterable[tuple[int, str]]) -> None:
    """Compare with samples.jsonl, as `(step, sample id)`: what has a reward was trained, once."""
    # the run ended, or is, between two writings of the step after the last
    settled = account.last_step + account.ended
    rows = [row for row in rewarded if row[0] > account.head.step]
    rows = [row for row in rows if row[0] <= settled or row[0] > account.last_step + 1]
    for (step, sample_id), number in Counter(rows).items():
        name, sample = account.name(sample_id), account.samples.get(sample_id)
        if sample is None:
            account.violations.append(f"{name}: has a reward and was never planned")
        elif sample.fate is not Fate.TRAINED:
            fate = sample.fate or "under way"
            account.violations.append(f"{name}: {fate}, and has a reward in step {step}")
        elif sample.ended != step:
            account.violations.append(
                f"{name}: trained in step {sample.ended}, and has a reward in step {step}"
            )
        elif number > 1:
            account.violations.append(f"{name}: has {number} rewards in step {step}")
    have = {sample_id for _, sample_id in rows}
    account.violations += [
        f"{account.name(sample_id)}: trained in step {sample.ended}, and has no reward"
        for sample_id, sample in account.samples.items()
        if sample.fate is Fate.TRAINED and sample_id not in have
    ]


def check_checkpoint(account: Account, version: int, open_ids: frozenset[str]) -> None:
    """Compare with a checkpoint: `open_ids` are the samples that were under way in it."""
    if version > account.last_step:
        account.violations.append(
            f"there is a checkpoint of step {version}, and the account ends with step "
            f"{account.last_step}"
        )
        return
    accounted = {
        sample_id
        for sample_id, each in account.samples.items()
        if each.planned <= version and (each.fate is None or each.ended > version)
    }
    for sample_id in sorted(accounted ^ open_ids):
        here, there = ("under way", "not") if sample_id in accounted else ("not", "under way")
        account.violations.append(
            f"{account.name(sample_id)}: {here} in the account of step {version}, {there} in its "
            "checkpoint"
        )
