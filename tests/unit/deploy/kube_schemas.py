"""Strict validation of manifests: Kubernetes' own schemas and KubeRay's of 2026-08, Apache 2.0."""

from __future__ import annotations

import functools
import gzip
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

CRDS = Path(__file__).parent / "kuberay_crds"
FILES = {"RayCluster": "ray.io_rayclusters.yaml.gz", "RayJob": "ray.io_rayjobs.yaml.gz"}
KUBERNETES = "1.33"


def check(manifest: dict[str, Any]) -> None:
    """Raise where the API server would refuse the manifest, or would drop a field of it."""
    if manifest["apiVersion"] == "ray.io/v1":
        _validator(manifest["kind"]).validate(manifest)
    else:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@functools.cache
def _validator(kind: str) -> jsonschema.Draft202012Validator:
    text = gzip.decompress((CRDS / FILES[kind]).read_bytes())
    versions = yaml.load(text, yaml.CSafeLoader)["spec"]["versions"]
    (schema,) = [v["schema"]["openAPIV3Schema"] for v in versions if v["name"] == "v1"]
    closed: dict[str, Any] = _closed(schema)
    closed["properties"]["metadata"] = {
        "properties": {n: {} for n in ("name", "generateName", "namespace", "labels")},
        "additionalProperties": False,
    }
    return jsonschema.Draft202012Validator(closed)


def _closed(node: Any) -> Any:
    """An API server prunes fields that a schema does not name: here they are errors."""
    if isinstance(node, list):
        return [_closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    made = {name: _closed(value) for name, value in node.items()}
    named = isinstance(made.get("properties"), dict) and made.get("type") == "object"
    if named and not made.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made
