"""Who reaches what in a cluster: ports, credentials and secrets of each part."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from pydantic_settings import BaseSettings

from api.auth.settings import AuthSettings
from api.v3.settings import V3Settings
from deploy.kubernetes.make_secrets import make
from storage_backends.configuration.subsystems import Subsystems
from tests.deploy.manifests import (
    OVERLAYS,
    component,
    has_kubectl,
    main_container,
    of_kind,
    pod,
    rendered,
)
from tests.deploy.stack import ROOT
from worker.config.settings import Settings
from worker.flower.settings import FlowerSettings
from worker.webhooks.settings import WebhookSettings

overlay = pytest.mark.parametrize("overlay", OVERLAYS)
renders = pytest.mark.skipif(not has_kubectl(), reason="kubectl is not here")


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
def test_only_workers_have_credentials_of_filers(overlay: str) -> None:
    for name, workload in of_kind(rendered(overlay), "Deployment", "StatefulSet").items():
        secrets = {each["secret"]["secretName"] for each in pod(workload)["volumes"] if "secret" in each}
        gateways = {secret for secret in secrets if secret.startswith("filer")}
        subsystem = workload["spec"]["template"]["metadata"]["labels"].get("storage-api/subsystem")
        allowed = {f"filer-{subsystem}"} if component(workload).startswith("worker") else set()
        assert gateways <= allowed, name


@renders
@overlay
def test_each_process_reads_only_its_own_secret(overlay: str) -> None:
    for name, workload in of_kind(rendered(overlay), "Deployment", "StatefulSet").items():
        secrets = {each["secret"]["secretName"] for each in pod(workload)["volumes"] if "secret" in each}
        own = component(workload).removesuffix("-list")
        assert {secret for secret in secrets if not secret.startswith("filer")} == {own}, name


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


def test_generated_secrets_are_different() -> None:
    values = [value for each in make() for key, value in each["stringData"].items() if value and key != "users.acl"]
    assert len(values) >= 9
    assert len(set(values)) == len(values)


@renders
@overlay
def test_every_pod_that_needs_redis_may_reach_it(overlay: str) -> None:
    manifests = rendered(overlay)
    policies = of_kind(manifests, "NetworkPolicy")
    readers = {component(each) for each in of_kind(manifests, "Deployment").values()}
    (rule,) = policies["redis"]["spec"]["ingress"]
    for selector in (policies["to-redis"]["spec"]["podSelector"], rule["from"][0]["podSelector"]):
        (expression,) = selector["matchExpressions"]
        assert set(expression["values"]) >= readers
