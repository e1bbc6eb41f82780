"""The Kubernetes manifests are valid to the last field, and fit the run that they start."""

from __future__ import annotations

import copy
import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from kube_schemas import check
from room import fitting

from stepcoder_dist.config import RunConfig
from stepcoder_dist.run.reservations import reserved
from stepcoder_dist.run.run_file import load

REPOSITORY = Path(__file__).parents[3]
FOLDER = REPOSITORY / "deploy" / "kuberay"
FIRST_USER = 100_000  # its processes are limited by the kernel, user by user (docs/sandbox.md)
REFUSED = (jsonschema.ValidationError, kubernetes_validate.ValidationError)


def manifests() -> list[dict[str, Any]]:
    files = [*sorted((FOLDER / "base").glob("*.yaml")), FOLDER / "rayjob.yaml"]
    read = [each for file in files for each in yaml.safe_load_all(file.read_text("utf-8"))]
    return [each for each in read if each["kind"] != "Kustomization"]


def of_kind(kind: str) -> dict[str, Any]:
    (found,) = [each for each in manifests() if each["kind"] == kind]
    return found


def groups() -> dict[str, dict[str, Any]]:
    return {each["groupName"]: each for each in of_kind("RayCluster")["spec"]["workerGroupSpecs"]}


def pods() -> Iterator[dict[str, Any]]:
    yield of_kind("RayCluster")["spec"]["headGroupSpec"]["template"]
    for group in groups().values():
        yield group["template"]


@pytest.mark.parametrize(
    "manifest", manifests(), ids=lambda m: f"{m['kind']}-{next(iter(m['metadata'].values()))}"
)
def test_a_manifest_is_valid_and_a_misspelled_field_of_it_is_not(manifest: dict[str, Any]) -> None:
    check(manifest)
    fields = [path for path in paths(manifest) if not free(path)]
    assert len(fields) > 4
    for *parents, name in fields:
        wrong = copy.deepcopy(manifest)
        node: Any = wrong
        for step in parents:
            node = node[step]
        node[f"{name}z"] = node.pop(name)
        with pytest.raises(REFUSED):
            check(wrong)


def paths(node: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return each field of the manifest once; of a list's elements, those of the first two."""
    found: list[tuple[Any, ...]] = []
    if isinstance(node, dict):
        for name, value in node.items():
            found += [(*above, name), *paths(value, (*above, name))]
    elif isinstance(node, list):
        for index, value in enumerate(node[:2]):
            found += paths(value, (*above, index))
    return [path for path in found if isinstance(path[-1], str)]


def free(path: tuple[Any, ...]) -> bool:
    """Names that the user chooses: labels, resources, parameters of `ray start`."""
    chosen = {"matchLabels", "labels", "requests", "limits", "rayStartParams", "clusterSelector"}
    return path[0] in {"apiVersion", "kind"} or bool(chosen.intersection(path[:-1]))


def test_a_value_out_of_range_is_refused() -> None:
    cluster = of_kind("RayCluster")
    cluster["spec"]["workerGroupSpecs"][0]["replicas"] = "four"
    with pytest.raises(REFUSED):
        check(cluster)
    cluster = of_kind("RayCluster")
    cluster["spec"]["authOptions"]["mode"] = "password"
    with pytest.raises(REFUSED):
        check(cluster)


def run() -> RunConfig:
    """The run that the RayJob starts."""
    words = shlex.split(of_kind("RayJob")["spec"]["entrypoint"])
    assert words[:2] == ["stepcoder", "train"]
    file = REPOSITORY / Path(words[2]).relative_to("/opt/stepcoder")
    return load(file, [words[i + 1] for i, word in enumerate(words) if word == "--set"])


def offered(group: dict[str, Any]) -> dict[str, float]:
    """What Ray sees of one pod: the limits of its Ray container, and what `ray start` is told."""
    parameters = group["rayStartParams"]
    (container,) = [
        each for each in group["template"]["spec"]["containers"] if each["name"] == "ray-worker"
    ]
    limits = container["resources"]["limits"]
    return {
        "CPU": float(parameters.get("num-cpus", limits["cpu"])),
        "GPU": float(limits.get("nvidia.com/gpu", 0)),
        **json.loads(json.loads(parameters["resources"])),
    }


def test_the_processes_of_the_run_fit_their_groups_and_no_other() -> None:
    config = run()
    pools = {
        "rollout": (config.actors.resources, config.actors.number, config.actors.most),
        "learner": (config.learner.resources, config.learner.ranks, config.learner.ranks),
        "sandbox": (config.sandbox.resources, config.sandbox.number, config.sandbox.most),
    }
    for pool, (resources, number, most) in pools.items():
        process = reserved(resources)
        for name, group in groups().items():
            held = fitting(offered(group), process)
            assert (held > 0) == (name == pool), (pool, name)
        own = groups()[pool]
        held = fitting(offered(own), process)
        assert held * own["replicas"] >= number
        assert held * own["maxReplicas"] >= most
    assert groups()["sandbox"]["minReplicas"] == config.sandbox.min
    # A placement group is reserved before training: those pods are there from the start.
    for pool in ("rollout", "learner"):
        assert groups()[pool]["minReplicas"] == groups()[pool]["replicas"]


def test_guests_see_their_own_socket_and_the_executor_all_of_them() -> None:
    config = run()
    spec = groups()["sandbox"]["template"]["spec"]
    guests = spec["initContainers"]
    assert len(guests) == config.sandbox.containers
    mounts = [{m["mountPath"]: m for m in guest["volumeMounts"]} for guest in guests]
    for key, path in (("subPath", "/guest"), ("name", "/tmp")):
        assert len({mount[path][key] for mount in mounts}) == len(guests)
    users = {guest["securityContext"]["runAsUser"] for guest in guests}
    assert len(users) == len(guests)
    assert min(users) >= FIRST_USER
    (executor,) = spec["containers"]
    seen = {m["name"]: m["mountPath"] for m in executor["volumeMounts"]}
    sockets = {
        Path(seen["guests"], mount["/guest"]["subPath"], Path(guest["command"][-1]).name)
        for guest, mount in zip(guests, mounts, strict=True)
    }
    assert all(socket.match(str(config.sandbox.sockets)) for socket in sockets)
    assert len(sockets) == config.sandbox.containers
    for guest in guests:
        assert guest["restartPolicy"] == "Always"
        assert guest["command"][1:] == ["/guest_listener.py", "/guest/guest.sock"]
        memory = kubernetes_mib(guest["resources"]["limits"]["memory"])
        assert memory >= config.sandbox.memory_limit_mib + 256


def kubernetes_mib(quantity: str) -> int:
    number, unit = quantity[:-2], quantity[-2:]
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]


def test_programs_are_confined_and_nothing_runs_with_more_than_it_needs() -> None:
    for pod in pods():
        spec = pod["spec"]
        head = pod["metadata"]["labels"]["stepcoder/pool"] == "head"
        assert (
            spec.get("automountServiceAccountToken", True) is head
        )  # the autoscaler's, in the head
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            assert container["resources"]["limits"].keys() >= {"cpu", "memory"}
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"]["drop"] == ["ALL"]
            if container["name"] != "own-cache":
                assert spec["securityContext"]["runAsNonRoot"] is True
                assert "add" not in security["capabilities"]
            if container["name"].startswith("guest"):
                assert security["readOnlyRootFilesystem"] is True
                assert "env" not in container


@pytest.mark.skipif(not shutil.which("kubectl"), reason="needs kubectl")
def test_the_values_reach_every_place_that_they_are_for() -> None:
    values = yaml.safe_load((FOLDER / "values.yaml").read_text("utf-8"))
    made = built("deploy/kuberay")
    assert "Values" not in {each["kind"] for each in made}
    for each in made:
        check(each)
    (cluster,) = [each for each in made if each["kind"] == "RayCluster"]
    images = {
        container["image"]
        for group in [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
        for part in ("initContainers", "containers")
        for container in group["template"]["spec"].get(part, [])
    }
    assert images == set(values["images"].values())
    for group in cluster["spec"]["workerGroupSpecs"]:
        wanted = values[group["groupName"]]
        assert group["replicas"] == wanted["replicas"]
        assert group["minReplicas"] == wanted.get("min", wanted["replicas"])
        assert group["maxReplicas"] == wanted.get("max", wanted["replicas"])
    (claim,) = [each for each in made if each["kind"] == "PersistentVolumeClaim"]
    assert claim["spec"]["storageClassName"] == values["storage"]["class"]
    assert claim["spec"]["resources"]["requests"]["storage"] == values["storage"]["size"]


@pytest.mark.skipif(not shutil.which("kubectl"), reason="needs kubectl")
def test_monitoring_brings_the_dashboard_and_the_rules() -> None:
    made = {each["metadata"]["name"]: each for each in built("deploy/kuberay/monitoring")}
    assert made.keys() == {"stepcoder", "stepcoder-dashboard", "stepcoder-alerts"}
    assert json.loads(made["stepcoder-dashboard"]["data"]["stepcoder.json"])["panels"]
    assert yaml.safe_load(made["stepcoder-alerts"]["data"]["alerts.yml"])["groups"]
    (endpoint,) = made["stepcoder"]["spec"]["podMetricsEndpoints"]
    for pod in pods():
        (ray, *_) = pod["spec"]["containers"]
        assert endpoint["port"] in {port["name"] for port in ray["ports"]}


def built(folder: str) -> list[dict[str, Any]]:
    command = ["kubectl", "kustomize", folder]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))
