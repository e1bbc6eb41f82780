"""The rows of a ledger, folded in order to the account that they amount to.

A piece of rows counts when its last row closes it. A resumption takes back what was written after
its checkpoint. What a step planned is compared with the plan, drawn again from the run's seed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stepcoder_dist.errors import Malformed
from stepcoder_dist.loop.book.lines import NON_FINITE, Fate
from stepcoder_dist.loop.planner import ProblemOrder, is_spare

Row = Mapping[str, Any]


@dataclass(slots=True)
class Sample:
    problem: str
    planned: int
    """The step of the row that planned it."""
    fate: Fate | None = None
    why: str = ""
    ended: int = 0


@dataclass(frozen=True, slots=True)
class Head:
    """The first row: what a step of the run consists of."""

    run: str
    step: int
    """The account begins after this step: 0, or where a run of an older version was resumed."""
    samples_per_step: int
    samples_per_problem: int
    first_planned_step: int
    order: ProblemOrder

    @classmethod
    def of(cls, row: Row) -> Head:
        """Read the row. Raises what `Fold.feed` does."""
        if row["event"] != "run":
            raise ValueError(f'the first row is not "run" but "{row["event"]}"')
        problems, each = list(map(str, row["problems"])), int(row["problems_per_step"])
        return cls(
            run=str(row["run"]),
            step=int(row["step"]),
            samples_per_step=int(row["samples_per_step"]),
            samples_per_problem=int(row["samples_per_problem"]),
            first_planned_step=int(row["first_planned_step"]),
            order=ProblemOrder(problems, seed=int(row["seed"]), problems_per_step=each),
        )


@dataclass
class Account:
    """What the rows of a ledger amount to."""

    head: Head
    last_step: int = 0
    """The last step whose rows are complete."""
    ended: bool = False
    """The run ended by itself: it says that nothing of it is under way."""
    resumptions: int = 0
    taken_back: int = 0
    """Fates of samples that a resumption made void: the samples were made again."""
    unclosed: int = 0
    """Rows at the end of the file that nothing closes; they do not count."""
    samples: dict[str, Sample] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def name(self, sample_id: str) -> str:
        """Name a sample for a reader, with its problem."""
        sample = self.samples.get(sample_id)
        return f"sample {sample_id}" + (f" of problem {sample.problem}" if sample else "")

    @property
    def fates(self) -> Counter[Fate]:
        return Counter(each.fate for each in self.samples.values() if each.fate is not None)

    @property
    def reasons(self) -> Counter[str]:
        """Rejected samples by reason."""
        rejected = (each for each in self.samples.values() if each.fate is Fate.REJECTED)
        return Counter(each.why or "no reason given" for each in rejected)

    @property
    def under_way(self) -> int:
        """Samples that have no fate."""
        return sum(each.fate is None for each in self.samples.values())


def fold(rows: Iterable[tuple[int, Row]]) -> Account:
    """Fold numbered rows. Raises `Malformed`, with the line, for a row that no ledger has."""
    folded: Fold | None = None
    for line, row in rows:
        try:
            if folded is None:
                folded = Fold(Head.of(row))
            else:
                folded.feed(row)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise Malformed(f"line {line} is no row of a ledger: {what}") from None
    if folded is None:
        raise Malformed("it has no complete row")
    return folded.account()


class Fold:
    """The state of the account after the rows so far."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._account = Account(head, last_step=max(head.step - 1, 0))
        self._piece: list[Row] = []
        self._plans: dict[int, int] = {}
        """The step of the row that planned it, by planned step."""

    def account(self) -> Account:
        """Return the account, after the last row."""
        self._account.unclosed = len(self._piece)
        return self._account

    def feed(self, row: Row) -> None:
        event, step = str(row["event"]), int(row["step"])
        if event == "resumed":
            self._resume(step)
        elif event in ("step", "end"):
            self._close(event, step)
        elif event == "planned" or event in set(Fate):
            if not isinstance(row["samples"], list):
                raise ValueError("samples is no list")
            self._piece.append(row)
        else:
            raise ValueError(f'unknown event "{event}"')

    def _violate(self, what: str) -> None:
        self._account.violations.append(what)

    def _resume(self, step: int) -> None:
        account = self._account
        if step > account.last_step:
            self._violate(
                f"resumed at step {step}, and the account ends with step {account.last_step}"
            )
        self._piece = []
        account.resumptions += 1
        account.ended = False
        account.last_step = min(step, account.last_step)
        for sample_id, sample in list(account.samples.items()):
            if sample.fate is not None and sample.ended > step:
                account.taken_back += 1
                sample.fate, sample.why, sample.ended = None, "", 0
            if sample.planned > step:
                del account.samples[sample_id]
        self._plans = {plan: at for plan, at in self._plans.items() if at <= step}

    def _close(self, event: str, step: int) -> None:
        piece, self._piece = self._piece, []
        self._check_order(piece, step)
        planned = [row for row in piece if row["event"] == "planned"]
        ended = [row for row in piece if row["event"] != "planned"]
        for row in planned:
            self._plan(row, step)
        for row in ended:
            self._end(row, step)
        if step > self._head.step:
            self._check_plans(planned, step)
            if event == "step":
                self._check_batch(ended, step)
        self._account.ended = event == "end"
        if event == "step":
            self._account.last_step = step

    def _check_order(self, piece: Sequence[Row], step: int) -> None:
        if self._account.ended:
            self._violate(f"step {step} follows the end of the run without a resumption")
        elif step != self._account.last_step + 1:
            self._violate(f"step {step} is recorded after step {self._account.last_step}")
        if odd := {int(row["step"]) for row in piece} - {step}:
            self._violate(f"rows of step {min(odd)} are among those of step {step}")

    def _plan(self, row: Row, step: int) -> None:
        for sample_id in row["samples"]:
            if sample_id in self._account.samples:
                self._violate(f"{self._account.name(sample_id)}: planned twice")
            else:
                self._account.samples[sample_id] = Sample(str(row["problem"]), step)

    def _end(self, row: Row, step: int) -> None:
        fate = Fate(row["event"])
        for sample_id in row["samples"]:
            sample = self._account.samples.get(sample_id)
            if sample is None:
                self._violate(f"sample {sample_id}: {fate} in step {step} and never planned")
            elif sample.fate is not None:
                twice = "trained twice" if sample.fate is fate is Fate.TRAINED else "ended twice"
                self._violate(
                    f"{self._account.name(sample_id)}: {twice}: {sample.fate} in step "
                    f"{sample.ended}, {fate} in step {step}"
                )
            else:
                sample.fate, sample.why, sample.ended = fate, str(row.get("why", "")), step

    def _check_plans(self, rows: Sequence[Row], step: int) -> None:
        """Compare what a piece planned with the plan, drawn again."""
        groups: dict[int, list[Row]] = defaultdict(list)
        for row in rows:
            if _own(row):  # else it has replacements only
                groups[int(row["planned_step"])].append(row)
        for planned_step in sorted(groups):
            due = self._head.first_planned_step + len(self._plans)
            if planned_step != due:
                self._violate(
                    f"the samples of step {planned_step + 1} are planned where those of step "
                    f"{due + 1} are due: problems were skipped"
                )
            self._plans[planned_step] = step
            self._check_plan(groups[planned_step], planned_step)

    def _check_plan(self, groups: Sequence[Row], planned_step: int) -> None:
        where = f"the plan of step {planned_step + 1}"
        due = Counter(self._head.order.of(planned_step))
        planned = Counter(str(group["problem"]) for group in groups)
        for problem in (due - planned).elements():
            self._violate(f"problem {problem}: skipped in {where}")
        for problem in (planned - due).elements():
            self._violate(f"problem {problem}: not in {where}, and planned there")
        for group in groups:
            number, asked = len(_own(group)), self._head.samples_per_problem
            if number != asked:
                self._violate(
                    f"problem {group['problem']}: {number} samples in {where}, not {asked}"
                )

    def _check_batch(self, rows: Sequence[Row], step: int) -> None:
        used = [r for r in rows if r["event"] == Fate.TRAINED or r.get("why") == NON_FINITE]
        trained = sum(len(row["samples"]) for row in used)
        if trained != self._head.samples_per_step:
            size = self._head.samples_per_step
            self._violate(f"step {step} trained {trained} samples, not {size}")


def _own(row: Row) -> list[str]:
    """Return the samples that the plan asks for.

    A replacement's id has a `+`, or is a spare group's.
    """
    return [each for each in row["samples"] if "+" not in each and not is_spare(each)]
