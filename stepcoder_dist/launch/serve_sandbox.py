"""`stepcoder sandbox serve`: the sandbox as a service."""

from __future__ import annotations

from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.host.interruption import StopRequest, run_until_done


def serve(
    config: SandboxConfig,
    *,
    host: str,
    port: int,
    without_token: bool,
    problems: str,
    most_in_flight: int,
    most_body_mib: int,
    drain_s: float,
) -> None:
    """Run `stepcoder sandbox serve`. The first signal drains it, the second ends it."""
    from sandbox.drop_in import service
    from sandbox.drop_in.routes import ServiceLimits

    settings = service.ServeSettings(
        host=host,
        port=port,
        without_token=without_token,
        problems=problems,
        drain_s=drain_s,
        limits=ServiceLimits(in_flight=most_in_flight, body_bytes=most_body_mib * 2**20),
    )

    stop = StopRequest()
    run_until_done(service.serve(config, settings, stop), stop)
