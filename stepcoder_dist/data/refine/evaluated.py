"""Finding a row that is in an evaluation set: by its statement, a part of it, or a solution.

    statement   word for word, or nearly (likeness.py)
                one contains the other, also under other names: at least `LEAST_SHARE` of the runs
                of four words of the one are in the other. Names of the solution's functions,
                parameters and variables count as equal
    solution    the same program but for names, comments and white space
                at least `LEAST_SHARE` of its runs of twelve tokens, names counting as equal, are in
                a solution of the row

Short texts and programs say nothing: they are compared word for word only.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from stepcoder_dist.data.overlap.code_lines import logical_lines
from stepcoder_dist.data.refine.likeness import Likeness
from stepcoder_dist.errors import ProblemError
from stepcoder_dist.problems import drafts
from stepcoder_dist.problems.assert_script import parse
from stepcoder_dist.problems.files import FIX
from stepcoder_dist.problems.formats import Draft

LEAST_SHARE = 0.85
_RUN_WORDS, _LEAST_RUNS = 4, 6
_RUN_TOKENS, _LEAST_TOKENS_OF_RUNS = 12, 40
_LEAST_TOKENS = 16
"""Of a program that is compared as it is; a shorter one solves many problems."""
_WORD = re.compile(r"\w+|[^\w\s]")
_NAME = re.compile(r"[^\W\d]\w*")
_KEPT = {*keyword.kwlist, *dir(builtins)}
_LONGEST_WORD = 2
"""Of names that are taken for words of a statement: a, i, in."""
_ANY = "·"
"""Takes the place of a name."""


@dataclass(slots=True)
class _Runs:
    """Texts as runs, looked up by the runs that they share with another."""

    names: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    holders: dict[str, list[int]] = field(default_factory=dict)

    def add(self, name: str, runs: set[str]) -> None:
        for run in runs:
            self.holders.setdefault(run, []).append(len(self.names))
        self.names.append(name)
        self.sizes.append(len(runs))

    def found(self, runs: set[str], least: int) -> tuple[str, bool] | None:
        """Return the text that these runs contain, or that contains them (True), if any."""
        shared = Counter(at for run in runs for at in self.holders.get(run, ()))
        for at, common in shared.most_common():
            if common < least:
                break
            if common >= LEAST_SHARE * self.sizes[at]:
                return self.names[at], False
            if common >= LEAST_SHARE * len(runs):
                return self.names[at], True
        return None


class EvaluationSets:
    """The problems of every `--against`."""

    def __init__(self, near_duplicate: float, specs: Iterable[str] = ()) -> None:
        """Raises `MissingEngine` without datasketch, and `ProblemError` for an unreadable set."""
        self._like = Likeness(near_duplicate)
        self._statements = {named: _Runs() for named in (True, False)}
        """As they are, and with one sign for the names of a problem's own solution."""
        self._programs = _Runs()
        self._solutions: dict[str, str] = {}
        self.warnings = [warning for spec in specs if (warning := self._add_set(spec))]
        """Warnings about what cannot be compared."""

    def _add_set(self, spec: str) -> str:
        """Remember every row of a set, judged or not; return a warning where some cannot be read.

        Raises `ProblemError` where no row can be read.
        """
        total, lost = 0, list[ProblemError]()
        for item in drafts(spec):
            total += 1
            if isinstance(item, ProblemError):
                lost.append(item)
            else:
                self._add(item)
        if len(lost) == total:
            raise ProblemError(f"{spec}: holds no problem that could be read; fix --against")
        why = str(lost[0]).removesuffix(f"; {FIX}") if lost else ""
        return why and (
            f"{spec}: {len(lost)} of {total} rows cannot be read and are not compared: {why}"
        )

    def _add(self, row: Draft) -> None:
        name, statement = row.problem_id, row.statement.strip()
        self._like.add(name, statement or "".join(row.solutions[:1]))
        for named, statements in self._statements.items():
            runs = _statement_runs(row, named=named)
            if len(runs) >= _LEAST_RUNS:
                statements.add(name, runs)
        for solution in row.solutions:
            tokens = _tokens(solution)
            if len(tokens) >= _LEAST_TOKENS:
                self._solutions.setdefault(_renamed(tokens), name)
            if len(tokens) >= _LEAST_TOKENS_OF_RUNS:
                self._programs.add(name, _program_runs(tokens))

    def holds(self, row: Draft, text: str) -> str | None:
        """Say how an evaluation set has this row, whose statement (or reference) is `text`."""
        like = self._like.seen(text)
        if like is not None:
            name, share = like
            return f"the statement of {name}" if share == 1.0 else f"{share:.0%} like {name}"
        for named, statements in self._statements.items():
            within = statements.found(_statement_runs(row, named=named), _LEAST_RUNS)
            if within is not None:
                how = "a part of the statement of {}" if within[1] else "the statement of {} in it"
                return how.format(within[0])
        for solution in row.solutions:
            tokens = _tokens(solution)
            same = self._solutions.get(_renamed(tokens))
            name, part = self._programs.found(_program_runs(tokens), _RUN_TOKENS) or ("", True)
            if same is not None or not part:
                return f"a solution of {same or name}"
        return None


def _statement_runs(row: Draft, *, named: bool) -> set[str]:
    """Return the runs of words of a statement, in lower case; unless `named`, names are one."""
    names = set() if named else _bound(row.solutions[:1])
    statement = row.statement.strip("'\"`# \t\r\n")  # a docstring's, or a fence's
    words = [_ANY if w in names else w.lower() for w in _WORD.findall(statement)]
    return _runs(words, _RUN_WORDS)


def _bound(sources: Sequence[str]) -> set[str]:
    """Return the names that programs define."""
    found: set[str] = set()
    for source in sources:
        try:
            tree = parse(source)
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                    found.add(name)
                case ast.Name(id=name, ctx=ast.Store()):
                    found.add(name)
    return {name for name in found if len(name) > _LONGEST_WORD}


def _tokens(source: str) -> list[str]:
    """Return a program's tokens, with the ends of its lines; comments and docstrings left out."""
    return [token for line in logical_lines(source) for token in (*line, "\n")]


def _renamed(tokens: Sequence[str]) -> str:
    """Return the program with its names numbered in the order in which they come."""
    numbers: dict[str, str] = {}
    return " ".join(
        numbers.setdefault(token, f"{_ANY}{len(numbers)}") if _is_name(token) else token
        for token in tokens
    )


def _program_runs(tokens: Sequence[str]) -> set[str]:
    return _runs([_ANY if _is_name(token) else token for token in tokens], _RUN_TOKENS)


def _is_name(token: str) -> bool:
    return token not in _KEPT and _NAME.fullmatch(token) is not None


def _runs(items: Sequence[str], length: int) -> set[str]:
    return {" ".join(items[at : at + length]) for at in range(len(items) - length + 1)}
