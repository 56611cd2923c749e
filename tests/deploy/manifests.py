"""The files of `deploy/kubernetes`, as they stand and as kubectl renders them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.stack import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("test", "prod", "plain")
Manifest = dict[str, Any]


def has_kubectl() -> bool:
    """Can overlays be rendered here?"""
    return shutil.which("kubectl") is not None


def kustomizations() -> list[Path]:
    """Every kustomization file."""
    return sorted(FOLDER.rglob("kustomization.yaml"))


def written() -> Iterator[tuple[str, Manifest]]:
    """Each manifest as it stands in a file, with the file and its name; no kustomizations."""
    for path in sorted(FOLDER.rglob("*.yaml")):
        if path.name in {"kustomization.yaml", "prometheus-adapter.yaml"} or path.parent.name == "proxy":
            continue
        for manifest in yaml.safe_load_all(path.read_text("utf-8")):
            yield f"{path.relative_to(FOLDER)}:{manifest['kind']}/{manifest['metadata']['name']}", manifest


@cache
def rendered(overlay: str) -> tuple[Manifest, ...]:
    """Everything that an overlay deploys."""
    command = ["kubectl", "kustomize", str(FOLDER / "overlays" / overlay)]
    text = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    return tuple(yaml.safe_load_all(text))


def of_kind(manifests: tuple[Manifest, ...], *kinds: str, may_be_none: bool = False) -> dict[str, Manifest]:
    """Those of some kinds, by name; there must be some."""
    by_name = {manifest["metadata"]["name"]: manifest for manifest in manifests if manifest["kind"] in kinds}
    assert by_name or may_be_none, kinds
    return by_name


def pod(workload: Manifest) -> Manifest:
    """The specification of a workload's pods."""
    specification: Manifest = workload["spec"]["template"]["spec"]
    return specification


def main_container(workload: Manifest) -> Manifest:
    """The container that is not the proxy beside it."""
    (main,) = [container for container in pod(workload)["containers"] if container["name"] != "proxy"]
    return dict(main)


def component(workload: Manifest) -> str:
    """Which part of the service this is."""
    return str(workload["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"])
