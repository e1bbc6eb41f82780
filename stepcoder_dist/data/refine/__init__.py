"""APPS → APPS+: a problem set in, the problems that can be trained on out, and why the others not.

    read ──► not in an evaluation set ──► reference passes ──► (more stages) ──► no duplicate
    reading.py    likeness.py             references.py        stages.Stage      likeness.py
    └───────────────────── several rows at a time ───────────────────────┘   in the set's order

A row leaves as a `Candidate` or as a `Rejection` with its reason. What became of each row is
written down at once, in the set's order (`settled_file.py`); from there come, at the end, the
refined set, the report and the manifest (`outputs.py`). Rows that wait between two stages are
bounded in number; what is held for the whole set are ids and signatures.

    stages.py          Candidate, Rejection, Reason, and the interface of a stage
    refine.py          the loop
    majority.py        `--repair majority`
    context_length.py  too long for the model
    more_tests.py      `--augment N`
    normalisation.py   what the loader changed about a row's format
    source.py          what a refining is about, as digests
"""
