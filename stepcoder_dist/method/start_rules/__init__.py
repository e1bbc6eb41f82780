"""The rules for where the policy starts to write: one file for each value of `curriculum.kind`.

    none.py, fixed.py            nothing, or always the same
    cccs.py, on_failure.py       stages at a reference's conditionals, as the paper has them
    adaback.py                   stages at a reference's lines
    own_prefix.py                stages at the lines of a program that the policy wrote
    progress.py                  the progress of a problem, and what every rule has

A problem has stages 0 … E, E its easiest: at stage 0 nothing is given, at a higher stage a longer
prefix. A rule decides at which lines the stages begin, at which of them a problem begins, and at
which it is after a group of samples. It keeps no state of its own and does not see other problems.

To add a rule `x`: a file x.py here with its `RULE`, a line in `methods.START_RULES`, and a worked
example in tests/unit/method.
"""

from __future__ import annotations

import importlib

from stepcoder_dist import methods
from stepcoder_dist.method.start_rules.progress import StartRule


def rule(name: str) -> StartRule:
    """Return the `RULE` of the file that is named as the value of `curriculum.kind`.

    Raises `KeyError` for a name that `methods.START_RULES` does not have.
    """
    if name not in methods.START_RULES:
        raise KeyError(name)
    found: StartRule = importlib.import_module(f"{__name__}.{name}").RULE
    return found
