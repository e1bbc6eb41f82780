"""The core: what the system knows. Problems, curriculum, programs, masks, rewards, two loops.

Importing this package imports no heavy library. The processes around it (`actors/`, `learner/`,
`sandbox/`) are reached through the Protocols in `ports.py` and joined in `launch/` alone.
Begin with `loop/pipeline.py`: the two loops, and the flow of a sample drawn at the top.
"""
