"""APPS → APPS+: from a problem set to the problems that can be trained on; the others get a reason.

    read ──► not in an evaluation set ──► reference passes ──► (more stages) ──► no duplicate
    reading.py    likeness.py             references.py        stages.Stage      likeness.py
    └───────────────────── several rows at a time ───────────────────────┘   in the set's order

A row leaves as a `Candidate` or as a `Rejection` with its reason. The result of each row is written
down at once, in the set's order (`settled_file.py`). At the end the refined set, the report and the
manifest are made from that file (`outputs.py`). The number of rows that wait between two stages is
bounded. Only ids and signatures are held for the complete set.

    stages.py          Candidate, Rejection, Reason, and the interface of a stage
    refine.py          the loop
    majority.py        `--repair majority`
    context_length.py  too long for the model
    more_tests.py      `--augment N`
    normalisation.py   what the loader changed about a row's format
    source.py          the source as digests
"""
