"""What a key counts for, in the words in which each field says it.

    threads: Annotated[Positive | None, Counts(train=BITS, sft=BITS, evaluation=NO)] = None

A key that says nothing counts for what its section says (`Section.counts`). A section that says
nothing counts for everything. So a new key counts for everything until it says otherwise, and no
result is mistaken for another. `keys.py` reads this from the tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Part(Enum):
    """The part of a key in a result of `train`, of `sft` or of an evaluation."""

    NO = "no"
    """None: the key is a name, a place, a speed, an estimate, or says what is kept and shown."""
    BITS = "bits"
    """The result's last bits (the order of sums), or its length. It may be resumed under another
    value, and then ends with another result."""
    YES = "yes"
    """A sample, a gradient or a verdict means something else under another value, or a checkpoint
    cannot be read. It can be resumed under this value only."""


NO, BITS, YES = Part.NO, Part.BITS, Part.YES


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a key counts for."""

    train: Part = YES
    """Its part in what RL gives. YES: `train --resume` takes the checkpoint's value only."""
    sft: Part = YES
    """Its part in the weights of a warm start. YES: so does `sft --resume`."""
    evaluation: Part = YES
    """Its part in an evaluation. YES: `eval --compare` names it where two differ, and the arms of
    an ablation have to agree in it."""
    every_arm: bool = False
    """True: the arms of an ablation have to agree in it although no evaluation depends on it. They
    see the same problems and the same number of samples."""


EVERYTHING = Counts()
NOTHING = Counts(train=NO, sft=NO, evaluation=NO)
TRAIN = Counts(sft=NO, evaluation=NO)
SFT = Counts(train=NO, evaluation=NO)
EVALUATION = Counts(train=NO, sft=NO)
TRAIN_AND_SFT = Counts(evaluation=NO)
TRAIN_AND_EVALUATION = Counts(sft=NO)


# The questions that are asked of a key.


def fixed_for_train(counts: Counts) -> bool:
    """`train --resume` refuses another value than the checkpoint has."""
    return counts.train is YES


def fixed_for_sft(counts: Counts) -> bool:
    """`sft --resume` refuses another value than the checkpoint has."""
    return counts.sft is YES


def fixed_for_evaluations(counts: Counts) -> bool:
    """Two evaluations with different values cannot be compared."""
    return counts.evaluation is YES


def fixed_for_arms(counts: Counts) -> bool:
    """An ablation refuses an arm with another value than the others have."""
    return counts.every_arm or counts.evaluation is YES


def kept_with_trained(counts: Counts) -> bool:
    """A trained cell of an ablation that has a result is measured again under another value."""
    return counts.train is not NO or counts.evaluation is not NO


def kept_with_untrained(counts: Counts) -> bool:
    """Return the same for the cell of the untrained model."""
    return counts.evaluation is not NO
