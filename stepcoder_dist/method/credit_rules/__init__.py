"""The rules for which tokens carry policy loss: one file for each value of `credit.rule`.

    executed.py          FGO: what a test executed
    failing_tests.py     blames what only failing tests executed
    suspicion.py         the same by degrees (Ochiai)
    rltf.py              blames the line of an error twice
    credited_lines.py    what a rule returns, and what rules share

A rule turns the tests' executed lines into two sets of lines: those that a positive advantage may
reward and those that a negative one may blame, each with weights where it has degrees. The sign is
the learner's, so a trajectory carries both masks. `all` has no file: every token carries loss.

To add a rule `x`: a file x.py here with its function `lines`, a line in `methods.CREDIT_RULES`, and
a worked example in tests/unit/method.
"""

from __future__ import annotations

import importlib

from stepcoder_dist import methods
from stepcoder_dist.method.credit_rules.credited_lines import LineRule

WITHOUT_LINES = "all"


def rule(name: str) -> LineRule:
    """Return the function `lines` of the file that is named as the value of `credit.rule`.

    Raises `KeyError` for `all`, and for a name that `methods.CREDIT_RULES` does not have.
    """
    if name == WITHOUT_LINES or name not in methods.CREDIT_RULES:
        raise KeyError(name)
    found: LineRule = importlib.import_module(f"{__name__}.{name}").lines
    return found
