"""The sandbox as a part of other trainers: in their process, and as a service.

    a reward function        reward_function.py: TRL, verl, verifiers
    the pool behind it       background_pool.py: an event loop on a thread of its own
    stepcoder sandbox serve  service.py: start, limits, drain; routes.py: paths, answers
    what clients send        judge_request.py: our API; run_code.py: SandboxFusion's
    what Prometheus reads    service_metrics.py

Nothing here needs Ray or torch: `pip install stepcoder-dist[sandbox]` is enough.
"""

from sandbox.drop_in.reward_function import UnitTestReward

__all__ = ["UnitTestReward"]
