"""Probe of vLLM: it imports, and has the calls that sampling, sleeping and pushes need."""

from __future__ import annotations

from stepcoder_dist.doctor.examination import Finding, Mark


def vllm() -> list[Finding]:
    """Import what an actor imports. Raises what vLLM raises."""
    # the receiver checks the weight-transfer API when it is imported and when it is asked to
    from vllm import __version__ as version
    from vllm.platforms import current_platform

    from actors import weight_transfer

    weight_transfer.check_vllm()
    kind = "the CPU" if current_platform.is_cpu() else current_platform.device_name
    seen = f"{version} for {kind}; has every call of a push"
    return [Finding("vLLM", Mark.WORKS, seen)]
