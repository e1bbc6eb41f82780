"""The code that runs inside a container: standard library only, Python 3.11 or newer.

It is sent over standard input when a container starts (decision 0010), so the image needs nothing
but Python. The modules:

    zygote.py        process 1, root with a few capabilities: forks a child for each run, holds the
                     clocks, cleans up after it, sends the bytes; parses nothing hostile
    sweeping.py      kills what is left of a run, empties the writable folders
    staging.py       the pipes to the host, through memory that no child inherits
    limits.py        the kernel's limits on a child, its clock, its memory kills
    run_tests.py     the child, unprivileged: compiles, describes and runs one program
    program_state.py a fresh `__main__`, standard streams and interpreter settings for each test
    function_calls.py finds the program's functions, packs what they return, serves a script
    script_run.py    the other child, for an assert script: runs it, and alone decides its result
    source_traits.py state of a source that outlives a test
    tracing_reach.py whether a source touches tracing machinery
    structure.py     which lines share a fate: the raw material of FGO
    statement_lines.py  lines and columns of single statements
    line_tracer.py   executed lines into shared memory
    plain_data.py    typed encoding of arguments and return values
    layout.py        the bytes that zygote, child and host agree on, and those of a script
"""

SENT_IN_ORDER = (
    "layout",
    "plain_data",
    "line_tracer",
    "statement_lines",
    "structure",
    "source_traits",
    "tracing_reach",
    "program_state",
    "sweeping",
    "staging",
    "limits",
    "function_calls",
    "run_tests",
    "script_run",
    "zygote",
)
"""Modules as they are sent: each after those that it imports."""
