"""The two loops, roll out and train, with what they share.

    pipeline.py         the training loop, and both loops together
    rollout_loop.py     the loop that plans, samples and judges
    run.py              what both see, and what a checkpoint holds of them
    sample_book.py      where every sample is, from its plan to its fate; its parts: book/
    planner.py          which problem is next
    judged_sample.py    from a completion to what is trained: verdict, reward, masks
    weight_delivery.py  how the weights of a step reach the actors
    suspects.py         samples of a lost engine go to another; problems that break engines
    sampling.py         the same without suspects, for evaluations
    lost_samples.py     samples without a verdict: quarantine, a run's end; groups: faults/
    filling/            groups that scored alike, and others in their place
    patience.py         the waits of the loops for each other
    account.py          what happened to samples, for the ledger
    metrics.py          the names of a run's figures; who waits for whom: stages/; spans: tracing/
    fakes.py            the ports without heavy parts

`ports.py`, one level up, says what they need from the processes around them.
"""
