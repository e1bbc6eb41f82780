"""Judges untrusted programs: source and tests in, `Verdict` out.

Theory of operation. An executor (a Ray actor, `pool/executor_actor.py`) owns some warm containers.
In each, process 1 is our *zygote* (`guest/zygote.py`). For a program it forks a child that gives up
its rights, compiles the source, describes its lines, and runs the tests (`guest/run_tests.py`);
output, return values and executed lines stay in memory that outlives the child, so they are right
after a kill or a crash. The zygote holds the clocks, sweeps up, and sends the bytes. The host
compares (`answers/comparison.py`): expected values never enter the container. One child runs all
tests of a program that leaves no state behind; a test that something of the process ended there
runs again in one of its own, and that counts (`judging.py`, `decisions.py`). An assert script runs
in a second child, which calls the program over pipes and alone gives the verdict
(`guest/script_run.py`); a problem's own checker in a child of its own, after the program's has
ended (`answers/checker.py`).

Where to look:

    one program, start to end     judging.py, decisions.py, endings.py, answers/checks.py
    what counts as right          answers/: comparison.py, plain_equality.py, matching.py,
                                  checker.py
    inside the container          guest/__init__.py names its files
    host ↔ zygote                 orders.py (what is sent), guest_link.py (any channel),
                                  line_structure.py (what comes)
    a container and its flags     containers/: container.py, attached_channel.py, orphans.py,
                                  program_users.py, image_check.py, engine_kinds.py
    the same without an engine    bubblewrap/; guests of a pod: attached/
    what all are confined by      confinement/: bounds.py, seccomp_filter.py; seccomp.json
    N places, retries, resizing   worker_pool.py, seat.py → containers/container_pool.py,
                                  bubblewrap/bubblewrap_pool.py,
                                  attached/attached_pool.py, process_pool.py
    engines that go away          absence.py, containers/orphans.py
    time-outs of a busy machine   quiet_time.py (decision 0018)
    who is next                   fair_queue.py
    which backend                 backend.py
    Ray, in the driver            pool/: executor_pool.py, executor_handle.py, suite_store.py
    Ray, on a node                pool/executor_actor.py; both: pool/pool_metrics.py
    `stepcoder judge`             judge_files/: batch.py, verdict_file.py
    other trainers, HTTP          drop_in/

Threat model; docs/threat-model.md has it with the tests of each line. The program is hostile: it
wants to pass without solving, to learn expected values, to stay, to hurt its neighbours or the
host.

    forged results     a result is a value; only the host knows which one is right
    stolen answers     expected values are not in the container; earlier programs' bytes pass
                       through memory that no child inherits; assert scripts, which hold theirs,
                       have a user, files and memory of their own (decision 0015); a checker
                       and what it is given come when the program is gone (decision 0016)
    odd objects        typed plain data, read with the plain types' own methods; never pickle
    escape             no network, read-only root, no capability in a child, no-new-privileges,
                       own seccomp allow-list, private IPC, own user for each container
    exhaustion         processor, wall clock, memory, processes, output, files, inodes: limited,
                       by the kernel and outside of the child
    the host           sizes, tags and hashes are checked before an answer is read; output is
                       split no further than what is expected of it
    feigned faults     what a program writes about itself is never a fault of the sandbox, and
                       neither is a container that the kernel ends for its memory
    shared processes   a source that could leave state behind gets a process for each test
    leftovers          every process and file is gone after each run, or the container is

Not defended: the shared kernel (use a sandboxed runtime where that matters), a program that
forges its own coverage (sources that touch tracing machinery are marked, and no reward depends
on coverage), test inputs, which a program must see and may recognise. The `process` backend
defends nothing.
"""
