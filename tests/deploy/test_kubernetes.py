"""Manifests keep to the schemas of Kubernetes, and to what the promises rest on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.deploy.manifests import (
    FOLDER,
    OVERLAYS,
    component,
    has_kubectl,
    kustomizations,
    of_kind,
    pod,
    rendered,
    written,
)
from tests.deploy.stack import ROOT

#: The releases for which it is made.
VERSIONS = tuple(f"1.{minor}" for minor in range(30, 38))
#: Kinds that are no part of Kubernetes's schemas, by API: what we use of them.
_ROUTE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["host", "to", "port", "tls", "wildcardPolicy"],
    "properties": {
        "host": {"type": "string", "format": "hostname"},
        "to": {
            "type": "object",
            "additionalProperties": False,
            "required": ["kind", "name"],
            "properties": {"kind": {"const": "Service"}, "name": {"type": "string"}, "weight": {"type": "integer"}},
        },
        "port": {"type": "object", "additionalProperties": False, "properties": {"targetPort": {"type": "string"}}},
        "tls": {
            "type": "object",
            "additionalProperties": False,
            "required": ["termination"],
            "properties": {
                "termination": {"enum": ["edge", "reencrypt", "passthrough"]},
                "insecureEdgeTerminationPolicy": {"enum": ["None", "Redirect"]},
            },
        },
        "wildcardPolicy": {"enum": ["None", "Subdomain"]},
    },
}
_SERVICE_MONITOR = {
    "type": "object",
    "additionalProperties": False,
    "required": ["selector", "endpoints"],
    "properties": {
        "selector": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"matchLabels": {"type": "object"}},
        },
        "endpoints": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "port": {"type": "string"},
                    "path": {"const": "/metrics"},
                    "interval": {"type": "string", "pattern": "^[0-9]+s$"},
                },
            },
        },
    },
}
_IMAGE_STREAM = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "lookupPolicy": {"type": "object", "properties": {"local": {"type": "boolean"}}, "required": ["local"]},
        "tags": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "from", "importPolicy"],
                "properties": {
                    "name": {"type": "string"},
                    "from": {
                        "type": "object",
                        "required": ["kind", "name"],
                        "properties": {"kind": {"const": "DockerImage"}, "name": {"type": "string"}},
                    },
                    "importPolicy": {"type": "object", "properties": {"scheduled": {"const": True}}},
                    "referencePolicy": {"type": "object", "properties": {"type": {"enum": ["Source", "Local"]}}},
                },
            },
        },
    },
}
OTHERS: dict[tuple[str, str], dict[str, Any]] = {
    ("route.openshift.io/v1", "Route"): _ROUTE,
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _SERVICE_MONITOR,
    ("image.openshift.io/v1", "ImageStream"): _IMAGE_STREAM,
}
WRITTEN = dict(written())
overlay = pytest.mark.parametrize("overlay", OVERLAYS)
renders = pytest.mark.skipif(not has_kubectl(), reason="kubectl is not here")


def check(manifest: dict[str, Any], *versions: str) -> None:
    kind = (manifest["apiVersion"], manifest["kind"])
    if kind in OTHERS:
        jsonschema.validate(manifest["spec"], OTHERS[kind])
        return
    for version in versions or VERSIONS[-1:]:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("name", WRITTEN)
def test_manifest_matches_its_schema(name: str) -> None:
    check(WRITTEN[name])


def test_an_invalid_manifest_is_detected() -> None:
    wrong = json.loads(json.dumps(WRITTEN["base/api.yaml:Deployment/api"]))
    wrong["spec"]["template"]["spec"]["containers"][0]["livnessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        check(wrong)


@pytest.mark.parametrize("path", kustomizations(), ids=lambda path: str(path.parent.relative_to(FOLDER)))
def test_files_of_a_kustomization_exist(path) -> None:
    kustomization = yaml.safe_load(path.read_text("utf-8"))
    files = [file for each in kustomization.get("configMapGenerator", []) for file in each.get("files", [])]
    for named in [*kustomization.get("resources", []), *kustomization.get("components", []), *files]:
        assert (path.parent / named).exists(), named


@renders
@overlay
def test_overlay_matches_the_schemas(overlay: str) -> None:
    manifests = rendered(overlay)
    assert len(manifests) > 10
    for manifest in manifests:
        check(manifest)


@renders
@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-4]])
def test_overlay_matches_the_schemas_of_older_releases(version: str) -> None:
    # One of each kind: the schemas are large, and what is right in one of them is so in the others.
    kinds = {manifest["kind"]: manifest for manifest in rendered("prod")}
    assert len(kinds) >= 8
    for manifest in kinds.values():
        check(manifest, version)


@renders
@overlay
def test_every_container_is_confined_and_limited(overlay: str) -> None:
    for name, workload in of_kind(rendered(overlay), "Deployment", "StatefulSet").items():
        spec = pod(workload)
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"], name
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"].keys() >= {"cpu", "memory"}
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys(), name
            if name.startswith(("worker", "webhooks")):
                # No restart brings Redis back; meanwhile the process is not ready.
                is_forgiven = {
                    probe: "--forgive-redis" in container[probe]["exec"]["command"]
                    for probe in ("readinessProbe", "livenessProbe")
                }
                assert is_forgiven == {"readinessProbe": False, "livenessProbe": True}, name
            assert container["image"].rpartition(":")[2] not in {"latest", container["image"]}, name


@renders
@pytest.mark.parametrize("overlay", ["test", "prod"])
def test_openshift_gives_the_user_ids(overlay: str) -> None:
    for workload in of_kind(rendered(overlay), "Deployment", "StatefulSet").values():
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & pod(workload)["securityContext"].keys()


@renders
@pytest.mark.parametrize("overlay", ["test", "prod"])
def test_updates_lose_no_job(overlay: str) -> None:
    for name, workload in of_kind(rendered(overlay), "Deployment").items():
        if component(workload) == "flower" or name == "worker-dummy":
            continue
        assert workload["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0, name
        assert pod(workload)["terminationGracePeriodSeconds"] >= 45, name
    for container in pod(of_kind(rendered(overlay), "Deployment")["api"])["containers"]:
        assert "preStop" in container["lifecycle"], container["name"]
    assert of_kind(rendered(overlay), "Deployment")["api"]["spec"]["replicas"] >= 2
    scalers = of_kind(rendered(overlay), "HorizontalPodAutoscaler", may_be_none=True)
    assert all(scaler["spec"]["minReplicas"] >= 2 for scaler in scalers.values())
    redis = of_kind(rendered(overlay), "StatefulSet")["redis"]
    assert set(redis["spec"]["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}


@renders
@overlay
def test_every_node_can_be_drained(overlay: str) -> None:
    manifests = rendered(overlay)
    replicas = {
        name: each["spec"].get("replicas", 1) for name, each in of_kind(manifests, "Deployment", "StatefulSet").items()
    }
    budgets = of_kind(manifests, "PodDisruptionBudget")
    assert {"api", "redis"} <= budgets.keys() <= replicas.keys()
    for name, budget in budgets.items():
        spec = budget["spec"]
        assert (spec["maxUnavailable"], spec["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow"), name


@renders
@pytest.mark.parametrize("overlay", ["test", "prod"])
def test_prometheus_finds_the_front_end(overlay: str) -> None:
    manifests = rendered(overlay)
    (monitor,) = of_kind(manifests, "ServiceMonitor").values()
    (service,) = [
        each
        for each in of_kind(manifests, "Service").values()
        if monitor["spec"]["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
    ]
    assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}


#: The cluster role with which a project's service account may apply each kind; `edit` may apply what is not named.
ROLES = {"ServiceMonitor": "monitoring-edit"}


@renders
@overlay
def test_the_manual_gives_the_deployer_every_role_that_it_needs(overlay: str) -> None:
    manual = (ROOT / "docs" / "deployment.md").read_text("utf-8")
    given = set(re.findall(r"^oc policy add-role-to-user (\S+) -z gitlabci-deployer$", manual, re.MULTILINE))
    assert {ROLES.get(manifest["kind"], "edit") for manifest in rendered(overlay)} <= given


def test_generated_secrets_match_the_schema_and_hold_no_placeholder() -> None:
    command = [sys.executable, str(ROOT / "deploy/kubernetes/make_secrets.py"), "redis.example.org:6379"]
    made = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout)
    for manifest in made["items"]:
        check(manifest)
    assert "#{" not in json.dumps(made)
    assert "sapi:" in json.dumps(made)
    assert "@redis.example.org:6379/0" in made["items"][0]["stringData"]["redis_url"]


def test_made_secrets_let_users_reach_the_keys_and_channels_of_the_prefix_alone() -> None:
    command = [sys.executable, str(ROOT / "deploy/kubernetes/make_secrets.py")]

    def made(prefix: str) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "SAPI_KEY_PREFIX": prefix}
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)

    secrets = {each["metadata"]["name"]: each["stringData"] for each in json.loads(made("own_").stdout)["items"]}
    users = (ROOT / "deploy/redis/users.acl").read_text("utf-8")
    words, expected = secrets["redis"]["users.acl"].split(), re.sub("([~&])sapi:", r"\1own_", users).split()
    assert [word for word in words if word[0] in "~&"] == [word for word in expected if word[0] in "~&"]
    refused = made("no good")
    assert (refused.returncode, refused.stdout) == (1, "")
