"""The composition root: the only place that knows every role. One module is one command.

A command first reads and checks everything that a user can get wrong. Then it opens the processes
it needs (`processes.py`), hands them to the core, and closes what it opened.

    train.py       RL, in pools that are open or that it opens
    warm_start.py  SFT
    evaluate.py    pass@k of a checkpoint
    ablate.py      arms x seeds, each in a process of its own (ablate_cell.py)
    demo.py        warm start, evaluation, RL, evaluation
    judge.py       a file of programs
    inspect_set.py what is in a problem set, and what its tests reach
    refine.py      a problem set through the stages of refining
    export.py      a checkpoint as a Hugging Face folder
"""
