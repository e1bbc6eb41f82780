"""One run on disk: its file, its folder, its checkpoints, and how it is resumed.

    run_file.py           TOML in, `RunConfig` out
    preflight.py          what a user can get wrong, before any heavy import
    session.py            compose, restore, train
    run_folder.py         the folder, its lock, which checkpoints are kept
    checkpoint_series.py  a checkpoint is complete or absent
    step_records.py       what is written after a step, in which order
    resumption.py         what a checkpoint has of the driver; may this run resume it
    ahead_samples.py      the judged samples of later steps in it
    digests.py            digests of problems and weights
    sample_rows.py        samples.jsonl; nonfinite_batches.py: nonfinite/
    heldout_scores.py     evaluations during training; heldout_rows.py: their file
    ledger_report.py      `stepcoder ledger`; the ledger and its proof: account/
    reservations.py       what processes reserve of a machine
    sinks/, tracing/      where figures go, what `stepcoder trace` draws

`launch/` opens the processes of a run.
"""
