"""Manifests keep to the schemas of Kubernetes, and to what the promises rest on."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from pydantic_settings import BaseSettings

from api.auth.settings import AuthSettings
from api.v3.settings import V3Settings
from deploy.kubernetes.make_secrets import make
from storage_backends.configuration.subsystems import Subsystems
from tests.deploy.manifests import (
    FOLDER,
    OVERLAYS,
    component,
    has_kubectl,
    kustomizations,
    main_container,
    of_kind,
    pod,
    rendered,
    written,
)
from tests.deploy.stack import ROOT
from worker.config.settings import Settings
from worker.flower.settings import FlowerSettings
from worker.webhooks.settings import WebhookSettings

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
def test_manifest_keeps_to_its_schema(name: str) -> None:
    check(WRITTEN[name])


def test_a_wrong_manifest_is_found() -> None:
    wrong = json.loads(json.dumps(WRITTEN["base/api.yaml:Deployment/api"]))
    wrong["spec"]["template"]["spec"]["containers"][0]["livnessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        check(wrong)


@pytest.mark.parametrize("path", kustomizations(), ids=lambda path: str(path.parent.relative_to(FOLDER)))
def test_what_a_kustomization_names_is_there(path) -> None:
    kustomization = yaml.safe_load(path.read_text("utf-8"))
    files = [file for each in kustomization.get("configMapGenerator", []) for file in each.get("files", [])]
    for named in [*kustomization.get("resources", []), *kustomization.get("components", []), *files]:
        assert (path.parent / named).exists(), named


@renders
@overlay
def test_overlay_keeps_to_the_schemas(overlay: str) -> None:
    manifests = rendered(overlay)
    assert len(manifests) > 10
    for manifest in manifests:
        check(manifest)


@renders
@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-4]])
def test_overlay_keeps_to_the_schemas_of_older_releases(version: str) -> None:
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


@renders
@overlay
def test_probes_and_metrics_have_a_port_of_their_own_that_only_monitoring_reaches(overlay: str) -> None:
    manifests = rendered(overlay)
    api = main_container(of_kind(manifests, "Deployment")["api"])
    ports = {port["name"]: port["containerPort"] for port in api["ports"]}
    assert f"SAPI_ADMIN_PORT={ports['admin']}" in (ROOT / "Dockerfile.api").read_text("utf-8")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert api[probe]["httpGet"]["port"] == "admin", probe
    for monitor in of_kind(manifests, "ServiceMonitor", may_be_none=True).values():
        assert [endpoint["port"] for endpoint in monitor["spec"]["endpoints"]] == ["admin"]
    open_to_all = [
        port["port"]
        for policy in of_kind(manifests, "NetworkPolicy").values()
        for rule in policy["spec"].get("ingress", [])
        if {"namespaceSelector": {}} in rule["from"]
        for port in rule["ports"]
    ]
    assert ports["http"] in open_to_all
    assert ports["admin"] not in open_to_all
    targets = [route["spec"]["port"]["targetPort"] for route in of_kind(manifests, "Route", may_be_none=True).values()]
    assert set(targets) <= {"http"}


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
def test_only_what_sends_webhooks_reads_their_secrets_and_reaches_no_filer(overlay: str) -> None:
    manifests = rendered(overlay)
    readers = {
        name
        for name, workload in of_kind(manifests, "Deployment", "StatefulSet").items()
        if {"secretName": "webhooks", "defaultMode": 0o440} in [each.get("secret") for each in pod(workload)["volumes"]]
    }
    assert readers == {"webhooks"}
    policies = of_kind(manifests, "NetworkPolicy")
    (rule,) = policies["to-receivers"]["spec"]["egress"]
    refused = set(rule["to"][0]["ipBlock"]["except"])
    assert refused - {"169.254.0.0/16"} == set(
        policies["to-provider"]["spec"]["egress"][0]["to"][0]["ipBlock"]["except"]
    )
    assert "169.254.0.0/16" in refused


@renders
@overlay
def test_front_end_knows_the_storage_systems_of_the_workers_by_name_only(overlay: str) -> None:
    maps = of_kind(rendered(overlay), "ConfigMap")
    (configured,) = [each["data"]["SAPI_BACKENDS"] for name, each in maps.items() if name.startswith("api-settings")]
    tables = [
        tomllib.loads(each["data"]["backends.toml"]) for name, each in maps.items() if name.startswith("backends")
    ]
    served = {name: table["driver"] for file in tables for name, table in file.items()}
    assert configured == "🦄".join(f"{name}🌈{driver}" for name, driver in served.items())
    assert Subsystems.names_from_environment({"SAPI_BACKENDS": configured}) == tuple(served)


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
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler", may_be_none=True).values():
        workload = workloads[scaler["spec"]["scaleTargetRef"]["name"]]
        subsystem = workload["spec"]["template"]["metadata"]["labels"]["storage-api/subsystem"]
        queues = [each["external"]["metric"]["selector"]["matchLabels"]["queue"] for each in scaler["spec"]["metrics"]]
        served = main_container(workload)["args"][-1].split(",")
        assert sorted(queues) == sorted(f"{subsystem}.{kind}" for kind in served)
    services = of_kind(manifests, "Service")
    for route in of_kind(manifests, "Route", may_be_none=True).values():
        assert route["spec"]["to"]["name"] in services
        if route["spec"]["to"]["name"] == "api":
            router_s = int(route["metadata"]["annotations"]["haproxy.router.openshift.io/timeout"].removesuffix("s"))
            assert router_s > V3Settings.model_fields["v3_wait"].default


@renders
@overlay
def test_secrets_that_are_read_are_among_those_that_are_made(overlay: str) -> None:
    made: dict[str, Any] = {each["metadata"]["name"]: each["stringData"] for each in make()}
    for workload in of_kind(rendered(overlay), "Deployment", "StatefulSet").values():
        for volume in pod(workload)["volumes"]:
            name = volume.get("secret", {}).get("secretName", "api")
            assert name in made or name.startswith("filer-")
        environment = {each["name"]: each.get("value") for each in main_container(workload).get("env", [])}
        if component(workload) != "redis":
            assert environment["SAPI_SECRETS_DIR"] == "/run/secrets/storage-api"


def test_every_secret_that_is_made_is_a_setting_of_its_reader() -> None:
    settings: dict[str, tuple[type[BaseSettings], ...]] = {
        "api": (Settings, AuthSettings),
        "worker": (Settings,),
        "webhooks": (Settings, WebhookSettings),
        "flower": (Settings, FlowerSettings),
    }
    made: dict[str, Any] = {each["metadata"]["name"]: each["stringData"] for each in make()}
    for reader, classes in settings.items():
        fields = {name for each in classes for name in each.model_fields}
        assert made[reader].keys() <= fields


def test_every_secret_that_is_made_is_another() -> None:
    values = [value for each in make() for key, value in each["stringData"].items() if value and key != "users.acl"]
    assert len(values) >= 9
    assert len(set(values)) == len(values)


@renders
@overlay
def test_whoever_needs_redis_may_reach_it(overlay: str) -> None:
    manifests = rendered(overlay)
    policies = of_kind(manifests, "NetworkPolicy")
    readers = {component(each) for each in of_kind(manifests, "Deployment").values()}
    (rule,) = policies["redis"]["spec"]["ingress"]
    for selector in (policies["to-redis"]["spec"]["podSelector"], rule["from"][0]["podSelector"]):
        (expression,) = selector["matchExpressions"]
        assert set(expression["values"]) >= readers


def test_made_secrets_keep_to_the_schema_and_hold_no_template() -> None:
    command = [sys.executable, str(ROOT / "deploy/kubernetes/make_secrets.py"), "redis.example.org:6379"]
    made = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout)
    for manifest in made["items"]:
        check(manifest)
    assert "#{" not in json.dumps(made)
    assert "@redis.example.org:6379/0" in made["items"][0]["stringData"]["redis_url"]


def roll_out(only: str, folder: Path = FOLDER, **settings: str) -> str:
    """What the rollout of a release would apply, by the script in ``folder``."""
    done = subprocess.run(
        [folder / "roll_out.sh", "prod", "some-namespace", "registry.example.org:5000/team", "v1.2.3"],
        env={"PATH": os.environ["PATH"], "ONLY": only} | settings,
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


def images(text: str) -> set[str]:
    manifests = tuple(yaml.safe_load_all(text))
    workloads = of_kind(manifests, "Deployment", "StatefulSet").values()
    return {each["image"] for one in workloads for each in pod(one)["containers"]}


@renders
def test_a_release_names_its_images() -> None:
    text = roll_out("render")
    registry = "registry.example.org:5000/team"
    assert {each for each in images(text) if "docker.io" not in each} == {
        f"{registry}/api:v1.2.3",
        f"{registry}/worker:v1.2.3",
    }
    assert {each["metadata"]["namespace"] for each in yaml.safe_load_all(text)} == {"some-namespace"}


@renders
def test_a_rollout_leaves_nothing_behind(tmp_path: Path) -> None:
    # On a copy: the tests of the pipelines render releases in this folder at the same time.
    unfinished = shutil.ignore_patterns(".release-*")
    copy = shutil.copytree(FOLDER.parent, tmp_path / "deploy", ignore=unfinished) / FOLDER.name
    before = set((copy / "overlays").iterdir())
    assert "registry.example.org:5000/team/api:v1.2.3" in roll_out("render", folder=copy)
    assert set((copy / "overlays").iterdir()) == before


@renders
def test_every_image_can_be_named_by_digest_and_come_from_a_mirror() -> None:
    digests = {name: f"sha256:{letter * 64}" for name, letter in zip("abcd", "abcd", strict=True)}
    text = roll_out(
        "render",
        API_DIGEST=digests["a"],
        WORKER_DIGEST=digests["b"],
        REDIS_IMAGE=f"mirror.example.org/valkey@{digests['c']}",
        PROXY_IMAGE=f"mirror.example.org/nginx@{digests['d']}",
    )
    found = images(text)
    assert {each.partition("@")[2] for each in found} == set(digests.values())
    assert not any("docker.io" in each for each in found)


@renders
def test_a_template_holds_the_release_and_changes_nothing_that_runs() -> None:
    template = yaml.safe_load(roll_out("template"))
    assert (template["kind"], template["apiVersion"]) == ("Template", "template.openshift.io/v1")
    assert template["objects"] == list(yaml.safe_load_all(roll_out("render")))
    # What OpenShift would take for a parameter.
    assert not re.search(r"\$\{\{?[A-Za-z0-9_]+\}", json.dumps(template["objects"]))


@renders
def test_an_image_stream_rolls_out_every_part_that_we_build(tmp_path: Path) -> None:
    component_path = os.path.relpath(FOLDER / "components" / "imagestream", tmp_path)
    overlay_path = os.path.relpath(FOLDER / "overlays" / "test", tmp_path)
    (tmp_path / "kustomization.yaml").write_text(
        f"resources: [{overlay_path}]\ncomponents: [{component_path}]\n", "utf-8"
    )
    text = subprocess.run(["kubectl", "kustomize", tmp_path], capture_output=True, text=True, timeout=60, check=True)
    manifests = tuple(yaml.safe_load_all(text.stdout))
    streams = of_kind(manifests, "ImageStream")
    followed = 0
    for name, workload in of_kind(manifests, "Deployment").items():
        (trigger,) = json.loads(workload["metadata"]["annotations"]["image.openshift.io/triggers"])
        stream, _, tag = trigger["from"]["name"].partition(":")
        assert tag in {each["name"] for each in streams[stream]["spec"]["tags"]}
        assert stream == main_container(workload)["image"].rpartition("/")[2].partition(":")[0], name
        assert f'@.name=="{main_container(workload)["name"]}"' in trigger["fieldPath"], name
        followed += 1
    assert followed >= 4


CLIENT = """#!/bin/sh
echo "$*" >>{log}
case "$*" in
  *'get deployment '*jsonpath*) cat {state} ;;
  *'get statefulset '*jsonpath*) cat {stores} ;;
  *'get statefulset,deployment'*) echo deployment/worker ;;
  *'get deployment -o name'*) echo deployment/part ;;
  *'rollout status'*) [ "$(grep -c 'apply -k' {log})" != "$(cat {status})" ] ;;
  *'apply -k'*) printf 'api=3\\nworker=8\\n' >{state}; echo redis=6b >{stores} ;;
  *'rollout undo'*) echo none >{status} ;;
esac
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A client that writes down what it is asked for; after ``apply`` workers and Redis have another revision.

    ``status`` has after how many of those nothing becomes ready, until the way back.
    """
    client = tmp_path / "oc"
    files = {name: tmp_path / name for name in ("log", "state", "stores", "status")}
    client.write_text(CLIENT.format(**files), "utf-8")
    client.chmod(0o755)
    files["state"].write_text("api=3\nworker=7\n", "utf-8")
    files["stores"].write_text("redis=5a\n", "utf-8")
    files["status"].write_text("none\n", "utf-8")
    return tmp_path


@pytest.mark.parametrize(("status", "code", "applications"), [("none", 0, 2), ("1", 1, 1), ("2", 1, 2)])
def test_a_release_that_does_not_become_ready_goes_back(
    cluster: Path, status: str, code: int, applications: int
) -> None:
    (cluster / "status").write_text(status, "utf-8")
    command = [str(FOLDER / "roll_out.sh"), "prod", "ns", "registry.example.org/team", "v2"]
    done = subprocess.run(
        command,
        env={"PATH": f"{cluster}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code
    asked = (cluster / "log").read_text("utf-8").splitlines()
    undone = [line for line in asked if "rollout undo" in line or "delete pod" in line]
    went_back = [
        "-n ns rollout undo deployment/worker --to-revision=7",
        "-n ns rollout undo statefulset/redis",
        "-n ns delete pod redis-0 --ignore-not-found",
    ]
    assert undone == ([] if code == 0 else went_back)
    applied = [line for line in asked if "apply -k" in line]
    assert len(applied) == applications
    assert "component!=api" in applied[0]
    # Each part is waited for before the next is changed.
    awaited = [re.findall(r"component!?=api", line) for line in asked if "get statefulset,deployment" in line]
    assert awaited[: len(applied)] == [["component!=api"], ["component=api"]][: len(applied)]
    assert asked.index(applied[0]) < next(place for place, line in enumerate(asked) if "rollout status" in line)


def test_going_back_begins_with_the_front_end(cluster: Path) -> None:
    subprocess.run(
        [FOLDER / "roll_back.sh", "ns"], env={"PATH": f"{cluster}:{os.environ['PATH']}"}, check=True, timeout=60
    )
    asked = (cluster / "log").read_text("utf-8").splitlines()
    chosen = [re.findall(r"component!?=api|rollout [a-z]+", line) for line in asked]
    assert chosen == [
        [step] for part in ("component=api", "component!=api") for step in (part, "rollout undo", "rollout status")
    ]


def test_a_way_back_that_does_not_become_ready_is_no_success(cluster: Path) -> None:
    client = cluster / "oc"
    client.write_text(client.read_text("utf-8").replace("*'rollout undo'*)", "*'no command'*)"), "utf-8")
    (cluster / "status").write_text("0", "utf-8")
    environment = {"PATH": f"{cluster}:{os.environ['PATH']}"}
    done = subprocess.run([FOLDER / "roll_back.sh", "ns"], env=environment, check=False, timeout=60)
    assert done.returncode != 0
    # What newer front ends ask, older workers may not understand: these stay as they are.
    assert "component!=api" not in (cluster / "log").read_text("utf-8")
