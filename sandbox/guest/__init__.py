"""The code that runs inside a container: standard library only, Python 3.11 or newer.

It is sent over standard input when a container starts (decision 0010), so the image needs nothing
but Python. The modules:

    zygote.py        process 1, root with a few capabilities: forks a child for each run, holds the
                     clocks, cleans up after it, sends the bytes; parses nothing hostile
    watch.py         the clocks of a run: waits for its end, or ends it
    sweeping.py      kills what is left of a run, empties the writable folders
    staging.py       the pipes to the host, through memory that no child inherits
    limits.py        the kernel's limits on a child, its memory kills
    confining.py     what a child gives up by itself where nobody outside does it: capabilities,
                     system calls; the memory of a run added up where no control group limits it
    tree_clock.py    the processor time of a program and of all processes that come from it
    run_tests.py     the child, unprivileged: compiles, describes and runs one program
    program_state.py a fresh `__main__`, standard streams and interpreter settings for each test
    function_calls.py finds the program's functions, packs what they return, serves a script
    remotes.py       the program's functions and objects, as a script has them
    script_run.py    the other child, for an assert script: runs it, and alone decides its result
    source/          how a program's source is read:
      structure.py       which lines share a fate: the raw material of FGO
      statement_lines.py lines and columns of single statements
      likeness.py        how alike a program and a reference are
      source_traits.py   state of a source that outlives a test
      reached_names.py   what of names and attributes keeps no state
      tracing_reach.py   whether a source touches tracing machinery
    line_tracer.py   executed lines into shared memory
    plain_data.py    typed encoding of arguments and return values
    layout.py        the bytes that zygote, child and host agree on, and those of a script
"""

SENT_IN_ORDER = (
    "layout",
    "plain_data",
    "line_tracer",
    "source",
    "source.statement_lines",
    "source.structure",
    "source.reached_names",
    "source.source_traits",
    "source.likeness",
    "source.tracing_reach",
    "program_state",
    "sweeping",
    "staging",
    "confining",
    "limits",
    "remotes",
    "tree_clock",
    "function_calls",
    "run_tests",
    "script_run",
    "watch",
    "zygote",
)
"""Modules as they are sent: each after those that it imports."""
