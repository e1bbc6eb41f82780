"""Every node that is to load a model has it, and has the same: found before anything is loaded.

Engines and ranks load the model from their own node: a folder of a shared file system, a copy on
the node's disk, or the hub's cache there. A task looks on each node of the run's placement group.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.host import model_files
from stepcoder_dist.host.model_files import ModelFiles
from stepcoder_dist.launch.cluster import placement

_SHOWN = 5


async def check(config: RunConfig, model: str) -> None:
    """Compare the model on all nodes of the run, which download it from the hub where need be.

    Does nothing where all processes are on the driver's node. Raises a `ConfigError` that names
    the nodes that lack the model, or have another.
    """
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    bundles = await asyncio.to_thread(placement.by_node)
    here = ray.get_runtime_context().get_node_id()
    if not bundles.keys() - {here}:
        return
    addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes()}
    look = ray.remote(model_files.of)
    asked = {
        node: look.options(num_cpus=0, **options).remote(model) for node, options in bundles.items()
    }
    timeout = max(config.actors.start_timeout_s, config.learner.start_timeout_s)
    try:
        async with asyncio.timeout(timeout):
            answers = await asyncio.gather(*asked.values())
    except (RayError, GetTimeoutError, TimeoutError) as error:
        seen = str(error).strip().partition("\n")[0] or f"no answer within {timeout:g} s"
        raise ConfigError(
            f"a node did not say which files of {model} it has ({seen}); is the project installed "
            "on every node, and the model's disk fast enough for actors.start_timeout_s?"
        ) from None
    compare(model, {_named(n, addresses): a for n, a in zip(asked, answers, strict=True)})


def compare(model: str, found: Mapping[str, ModelFiles]) -> None:
    """Raise `ConfigError` for nodes whose files are not those that most nodes have."""
    complete = [node for node, files in found.items() if not files.missing]
    lacking = [f"node {node}: {files.missing}" for node, files in found.items() if files.missing]
    if complete:
        contents = {node: tuple(sorted(found[node].digests.items())) for node in complete}
        usual = Counter(contents.values()).most_common(1)[0][0]
        model_node = next(node for node in complete if contents[node] == usual)
        lacking += [
            f"node {node}: {found[node].path}: {difference} (as on {model_node})"
            for node in complete
            if (difference := found[node].difference(found[model_node]))
        ]
    if not lacking:
        return
    shown = "; ".join(lacking[:_SHOWN])
    more = f"; and {len(lacking) - _SHOWN} nodes more" if len(lacking) > _SHOWN else ""
    raise ConfigError(
        f"{len(lacking)} of {len(found)} nodes cannot load the model {model}: {shown}{more}. Copy "
        "it there, or name a folder that all nodes share (model.path, model.sft_path)"
    )


def _named(node: str, addresses: Mapping[str, str]) -> str:
    """Return the node's address; nodes that share one are told apart by their ids."""
    address = addresses[node]
    shared = list(addresses.values()).count(address) > 1
    return f"{address} ({node[:8]})" if shared else address
