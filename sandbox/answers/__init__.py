"""Whether an answer is the expected one: compared here, outside of every container.

`checks.py` also has the limits that a problem sets for its own tests.
"""
