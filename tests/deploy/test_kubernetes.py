"""Manifests keep to the schemas of Kubernetes, and to what the promises rest on."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from deploy.kubernetes.make_secrets import make
from storage_backends.configuration.subsystems import Subsystems
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

VERSION = "1.37"
#: What we use of OpenShift's routes, which are no part of Kubernetes's schemas.
ROUTE = {
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
WRITTEN = dict(written())
overlay = pytest.mark.parametrize("overlay", OVERLAYS)
renders = pytest.mark.skipif(not has_kubectl(), reason="kubectl is not here")


def check(manifest: dict[str, Any]) -> None:
    if manifest["kind"] == "Route":
        assert manifest["apiVersion"] == "route.openshift.io/v1"
        jsonschema.validate(manifest["spec"], ROUTE)
    else:
        kubernetes_validate.validate(manifest, VERSION, strict=True)


@pytest.mark.parametrize("name", WRITTEN)
def test_manifest_keeps_to_its_schema(name: str) -> None:
    check(WRITTEN[name])


def test_a_wrong_manifest_is_found() -> None:
    wrong = json.loads(json.dumps(WRITTEN["base/api.yaml:Deployment/api"]))
    wrong["spec"]["template"]["spec"]["containers"][0]["livnessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        check(wrong)


@pytest.mark.parametrize("path", kustomizations(), ids=lambda path: str(path.parent.relative_to(FOLDER)))
def test_what_a_kustomization_names_is_there(path) -> None:
    told = yaml.safe_load(path.read_text("utf-8"))
    files = [file for each in told.get("configMapGenerator", []) for file in each.get("files", [])]
    for named in [*told.get("resources", []), *told.get("components", []), *files]:
        assert (path.parent / named).exists(), named


@renders
@overlay
def test_overlay_keeps_to_the_schemas(overlay: str) -> None:
    for manifest in rendered(overlay):
        check(manifest)


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
    api = pod(of_kind(rendered(overlay), "Deployment")["api"])["containers"][0]
    assert "preStop" in api["lifecycle"]


@renders
@overlay
def test_only_workers_see_a_filers_credentials(overlay: str) -> None:
    for name, workload in of_kind(rendered(overlay), "Deployment", "StatefulSet").items():
        secrets = {each["secret"]["secretName"] for each in pod(workload)["volumes"] if "secret" in each}
        gateways = {secret for secret in secrets if secret.startswith("filer")}
        subsystem = workload["spec"]["template"]["metadata"]["labels"].get("storage-api/subsystem")
        allowed = {f"filer-{subsystem}"} if component(workload).startswith("worker") else set()
        assert gateways <= allowed, name


@renders
@overlay
def test_front_end_knows_the_storage_systems_of_the_workers_by_name_only(overlay: str) -> None:
    maps = of_kind(rendered(overlay), "ConfigMap")
    (told,) = [each["data"]["SAPI_BACKENDS"] for name, each in maps.items() if name.startswith("api-settings")]
    tables = [
        tomllib.loads(each["data"]["backends.toml"]) for name, each in maps.items() if name.startswith("backends")
    ]
    served = {name: table["driver"] for file in tables for name, table in file.items()}
    assert told == "🦄".join(f"{name}🌈{driver}" for name, driver in served.items())
    assert Subsystems.names_from_environment({"SAPI_BACKENDS": told}) == tuple(served)


@renders
@overlay
def test_budgets_autoscalers_services_and_routes_meet_what_they_name(overlay: str) -> None:
    manifests = rendered(overlay)
    workloads = of_kind(manifests, "Deployment", "StatefulSet")
    labels = [each["spec"]["template"]["metadata"]["labels"].items() for each in workloads.values()]
    chosen = [each["spec"]["selector"]["matchLabels"] for each in of_kind(manifests, "PodDisruptionBudget").values()]
    chosen += [each["spec"]["selector"] for each in of_kind(manifests, "Service").values()]
    for selector in chosen:
        assert sum(selector.items() <= each for each in labels) == 1, selector
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler").values():
        workload = workloads[scaler["spec"]["scaleTargetRef"]["name"]]
        subsystem = workload["spec"]["template"]["metadata"]["labels"]["storage-api/subsystem"]
        queue = scaler["spec"]["metrics"][0]["external"]["metric"]["selector"]["matchLabels"]["queue"]
        assert queue.rpartition(".")[0] == subsystem
        assert queue.rpartition(".")[2] in " ".join(pod(workload)["containers"][0]["args"])
    services = of_kind(manifests, "Service")
    for route in of_kind(manifests, "Route").values():
        assert route["spec"]["to"]["name"] in services


@renders
@overlay
def test_secrets_that_are_read_are_among_those_that_are_made(overlay: str) -> None:
    made: dict[str, Any] = {each["metadata"]["name"]: each["stringData"] for each in make()}
    for workload in of_kind(rendered(overlay), "Deployment", "StatefulSet").values():
        for volume in pod(workload)["volumes"]:
            name = volume.get("secret", {}).get("secretName", "api")
            assert name in made or name.startswith("filer-")
        for each in pod(workload)["containers"][0].get("env", []):
            if each["name"].endswith("_FILE") and "secrets/storage-api" in each["value"]:
                assert each["value"].rpartition("/")[2] in made[component(workload).removesuffix("-list")]


def test_made_secrets_keep_to_the_schema_and_hold_no_template() -> None:
    command = [sys.executable, str(ROOT / "deploy/kubernetes/make_secrets.py"), "redis.example.org:6379"]
    made = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout)
    for manifest in made["items"]:
        check(manifest)
    assert "#{" not in json.dumps(made)
    assert "@redis.example.org:6379/0" in made["items"][0]["stringData"]["redis_url"]


@renders
def test_a_release_names_its_images() -> None:
    before = set((FOLDER / "overlays").iterdir())
    done = subprocess.run(
        [FOLDER / "roll_out.sh", "prod", "some-namespace", "registry.example.org/team", "v1.2.3"],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "ONLY_RENDER": "1"}, capture_output=True, text=True, timeout=60,
        check=True,
    )  # fmt: skip
    manifests = tuple(yaml.safe_load_all(done.stdout))
    images = {each["image"] for one in of_kind(manifests, "Deployment").values() for each in pod(one)["containers"]}
    assert images == {"registry.example.org/team/api:v1.2.3", "registry.example.org/team/worker:v1.2.3"}
    assert {each["metadata"]["namespace"] for each in manifests} == {"some-namespace"}
    assert set((FOLDER / "overlays").iterdir()) == before
