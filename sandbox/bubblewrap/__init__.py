"""Warm places that bubblewrap makes: namespaces without a daemon, unprivileged where allowed.

bubblewrap_pool.py  the pool, one place, and what is said where it does not work
command.py          bwrap's options: what the place sees, and who its users are
starter.py          a short process that becomes bwrap: control groups, users, the filter
control_groups.py   memory, processes and processor time by the kernel's account
"""
