"""What the manual promises of a cluster, and what the manifests, the images and the settings must agree on."""

from __future__ import annotations

import re
import tomllib
from ipaddress import IPv4Network
from typing import Any

import pytest
import yaml

from api.settings import ApiSettings
from api.v3.settings import V3Settings
from storage_backends.configuration.options import OPTIONS
from tests.deploy.manifests import (
    FOLDER,
    OVERLAYS,
    component,
    has_kubectl,
    main_container,
    of_kind,
    pod,
    rendered,
)
from tests.deploy.stack import ROOT
from tests.deploy.test_compose_promises import redis_setting, size
from worker.config.settings import Settings

pytestmark = pytest.mark.skipif(not has_kubectl(), reason="kubectl is not here")
overlay = pytest.mark.parametrize("overlay", OVERLAYS)
on_openshift = pytest.mark.parametrize("overlay", ["test", "prod"])
MANUAL = (ROOT / "docs/deployment.md").read_text("utf-8")
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def workloads(overlay: str) -> dict[str, Any]:
    """All workloads, by name."""
    return of_kind(rendered(overlay), "Deployment", "StatefulSet")


def reached_by(policy: Any, overlay: str) -> set[str]:
    """The workloads whose pods a network policy is about, by name."""
    selector = policy["spec"]["podSelector"]
    return {
        name
        for name, workload in workloads(overlay).items()
        if (labels := workload["spec"]["template"]["metadata"]["labels"])
        and selector.get("matchLabels", {}).items() <= labels.items()
        and all(labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", ()))
    }


def mebibytes(quantity: str) -> int:
    """A quantity of memory, as in 512Mi."""
    number, unit = quantity[:-2], quantity[-2:]
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]


@overlay
def test_redis_has_memory_and_time_enough(overlay: str) -> None:
    redis = pod(workloads(overlay)["redis"])
    (container,) = redis["containers"]
    held = size(redis_setting("maxmemory")) // 2**20
    assert mebibytes(container["resources"]["limits"]["memory"]) >= 2 * held
    assert redis["terminationGracePeriodSeconds"] >= 60
    # "Reading a big append-only file takes minutes": it is not killed meanwhile.
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 300
    assert {"name": "data", "mountPath": redis_setting("dir")} in container["volumeMounts"]
    assert "health_password" in startup["exec"]["command"][-1]


@overlay
def test_secrets_are_readable_by_their_group_only_and_volumes_are_limited(overlay: str) -> None:
    assert any("secret" in volume for workload in workloads(overlay).values() for volume in pod(workload)["volumes"])
    for name, workload in workloads(overlay).items():
        for volume in pod(workload)["volumes"]:
            assert volume.get("secret", {}).get("defaultMode", 0o440) == 0o440, (name, volume["name"])
            assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": ""}), (name, volume["name"])
        for container in pod(workload)["containers"]:
            mounts = {mount["name"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
            secret = {volume["name"] for volume in pod(workload)["volumes"] if {"secret", "configMap"} & volume.keys()}
            assert all(mounts[each] for each in secret & mounts.keys()), name


@overlay
def test_each_check_looks_at_its_own_process(overlay: str) -> None:
    for name, workload in workloads(overlay).items():
        container = main_container(workload)
        if "--node" not in container.get("args", ()):
            continue
        node = container["args"][container["args"].index("--node") + 1]
        for probe in _PROBES:
            command = container[probe]["exec"]["command"]
            assert command[command.index("--node") + 1] == node, (name, probe)
        # A worker whose check fails for two minutes is started anew.
        alive = container["livenessProbe"]
        assert 60 <= alive["periodSeconds"] * alive["failureThreshold"] <= 180, name
    assert "whose check fails for two minutes" in MANUAL


@overlay
def test_dns_is_allowed_and_nothing_else_for_all_pods(overlay: str) -> None:
    policies = of_kind(rendered(overlay), "NetworkPolicy")
    everybody = {name for name, each in policies.items() if reached_by(each, overlay) == workloads(overlay).keys()}
    assert everybody == {"default-deny", "names"}
    assert policies["default-deny"]["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & policies["default-deny"]["spec"].keys()
    (rule,) = policies["names"]["spec"]["egress"]
    # The cluster's name servers, and OpenShift's, which listen on another port.
    ports = {(port["port"], port["protocol"]) for port in rule["ports"]}
    assert ports == {(number, protocol) for number in (53, 5353) for protocol in ("UDP", "TCP")}


@on_openshift
def test_only_workers_reach_filers_and_only_their_own(overlay: str) -> None:
    policies = of_kind(rendered(overlay), "NetworkPolicy")
    filers: dict[str, IPv4Network] = {}
    for name, policy in policies.items():
        if not name.startswith("to-filer"):
            continue
        subsystem = name.removeprefix("to-filer-")
        assert reached_by(policy, overlay) == {f"worker-{subsystem}", f"worker-list-{subsystem}"}
        ((target,),) = [rule["to"] for rule in policy["spec"]["egress"]]
        port = OPTIONS["NetappStorage"].model_fields["port"].default
        assert policy["spec"]["egress"][0]["ports"] == [{"port": port, "protocol": "TCP"}]
        filers[subsystem] = IPv4Network(target["ipBlock"]["cidr"])
    assert filers
    for one, network in filers.items():
        assert not [other for other in filers if other != one and network.overlaps(filers[other])]
    for name in ("to-provider", "to-receivers"):
        (rule,) = policies[name]["spec"]["egress"]
        excepted = [IPv4Network(each) for each in rule["to"][0]["ipBlock"]["except"]]
        assert rule["ports"] == [{"port": 443, "protocol": "TCP"}]
        for subsystem, network in filers.items():
            assert [each for each in excepted if network.subnet_of(each)], (name, subsystem)


@overlay
def test_each_part_reaches_what_it_needs_and_no_more(overlay: str) -> None:
    everything = workloads(overlay)
    clients = {"api", "flower", "webhooks"} | {name for name in everything if name.startswith("worker")}
    expected = {
        "web": {"api", "flower"},
        "admin": {"api"},
        "redis": {"redis"},
        "to-redis": clients,
        "to-provider": {"api", "flower"},
        "to-receivers": {"webhooks"},
    }
    policies = of_kind(rendered(overlay), "NetworkPolicy")
    for name, reaching in expected.items():
        assert reached_by(policies[name], overlay) == reaching & everything.keys(), name
    (rule,) = policies["redis"]["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": policies["to-redis"]["spec"]["podSelector"]}]


@on_openshift
def test_each_subsystem_has_a_filer_of_its_own(overlay: str) -> None:
    maps = of_kind(rendered(overlay), "ConfigMap")
    tables: dict[str, Any] = {}
    for name, each in maps.items():
        tables |= tomllib.loads(each["data"]["backends.toml"]) if name.startswith("backends") else {}
    filers = {name: table for name, table in tables.items() if table["driver"] == "NetappStorage"}
    assert filers
    # One filer's name twice: changes of one storage system would be made on another.
    assert len({table["hostname"] for table in filers.values()}) == len(filers)
    assert {name: table["vserver"] for name, table in filers.items()} == {name: name for name in filers}


@on_openshift
def test_autoscalers_add_workers_before_all_slots_are_busy(overlay: str) -> None:
    settings = Settings()
    slots = {"write": settings.write_slots, "read": settings.read_slots, "list": settings.list_slots}
    scalers = of_kind(rendered(overlay), "HorizontalPodAutoscaler")
    adapter = yaml.safe_load((FOLDER / "examples/prometheus-adapter.yaml").read_text("utf-8"))["rules"]["external"][0]
    for name, scaler in scalers.items():
        assert scaler["spec"]["maxReplicas"] > scaler["spec"]["minReplicas"], name
        for each in scaler["spec"]["metrics"]:
            metric, target = each["external"]["metric"], each["external"]["target"]
            # For each worker: a total would have their number grow without end.
            assert target["type"] == "AverageValue", name
            queue_class = metric["selector"]["matchLabels"]["queue"].rpartition(".")[2]
            assert slots[queue_class] <= int(target["averageValue"]) <= 4 * slots[queue_class], name
            assert metric["name"] == adapter["name"]["as"]
    # Every front end tells the same figure: their sum would be too many.
    assert re.fullmatch(r"max\(<<\.Series>>\{<<\.LabelMatchers>>\}\) by \(queue\)", adapter["metricsQuery"])
    assert adapter["seriesQuery"].startswith(adapter["name"]["as"])
    documented = re.search(
        r"carries out (\d+) changes and (\d+) look-ups[^.]*a listing worker (\d+) listings", MANUAL, re.DOTALL
    )
    assert documented
    assert tuple(map(int, documented.groups())) == tuple(slots.values())


@overlay
def test_pods_are_spread_where_there_is_more_than_one_node(overlay: str) -> None:
    spread = {
        name: constraint
        for name, workload in workloads(overlay).items()
        for constraint in pod(workload).get("topologySpreadConstraints", ())
    }
    assert "api" in spread
    # On a single node, or while others are drained, all of them run there.
    assert {constraint["whenUnsatisfiable"] for constraint in spread.values()} == {"ScheduleAnyway"}


@on_openshift
def test_workers_are_added_quickly_and_removed_slowly(overlay: str) -> None:
    for name, scaler in of_kind(rendered(overlay), "HorizontalPodAutoscaler").items():
        up, down = (scaler["spec"]["behavior"][direction] for direction in ("scaleUp", "scaleDown"))
        assert up["stabilizationWindowSeconds"] <= 60, name
        assert down["stabilizationWindowSeconds"] >= 300, name
        (policy,) = down["policies"]
        # Each has ended, and handed on what it had, before the next one goes.
        assert (policy["type"], policy["value"]) == ("Pods", 1), name
        assert policy["periodSeconds"] >= pod(workloads(overlay)[name])["terminationGracePeriodSeconds"], name


def test_proxies_wait_as_long_as_the_manual_says() -> None:
    documented = re.search(r"for\s+(\d+) seconds \(`SAPI_V3_WAIT`\): routes and the Ingress have (\d+)", MANUAL)
    assert documented
    v3_wait_s, router_s = map(int, documented.groups())
    assert V3Settings().v3_wait == v3_wait_s < router_s
    assert f"No answer below `/v4` takes longer than {ApiSettings().max_wait:g} seconds" in MANUAL
    (ingress,) = of_kind(rendered("plain"), "Ingress").values()
    annotations = ingress["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"] == str(router_s)
    assert size(annotations["nginx.ingress.kubernetes.io/proxy-body-size"]) >= ApiSettings().max_body_bytes
    for name in ("test", "prod"):
        route = of_kind(rendered(name), "Route")["api"]
        assert route["metadata"]["annotations"]["haproxy.router.openshift.io/timeout"] == f"{router_s}s"
        # "No stickiness is needed": a cookie of the router would keep clients at one front end.
        assert route["metadata"]["annotations"]["haproxy.router.openshift.io/disable_cookies"] == "true"
        assert route["spec"]["tls"] == {"termination": "edge", "insecureEdgeTerminationPolicy": "Redirect"}


@overlay
def test_the_front_end_trusts_exactly_its_proxies(overlay: str) -> None:
    """One too few, and all clients are one address; one too many, and a client says which address it has."""
    manifests = rendered(overlay)
    api = workloads(overlay)["api"]
    (settings,) = [
        each["data"] for name, each in of_kind(manifests, "ConfigMap").items() if name.startswith("api-settings")
    ]
    environment = {each["name"]: each.get("value") for each in main_container(api)["env"]}
    believed = environment.get("SAPI_TRUSTED_PROXIES", settings["SAPI_TRUSTED_PROXIES"])
    assert int(believed) == len(pod(api)["containers"]), "a router, and nginx where it is"
    assert settings["SAPI_SESSION_SECURE"] == "true"


@overlay
def test_front_ends_serve_until_routers_have_removed_them(overlay: str) -> None:
    api = pod(workloads(overlay)["api"])
    for container in api["containers"]:
        words = " ".join(container["lifecycle"]["preStop"]["exec"]["command"])
        rests = [int(seconds) for seconds in re.findall(r"sleep (\d+)", words)]
        assert rests[0] >= 5, container["name"]
        # nginx is told to end when routers have removed it, and finishes its responses.
        assert "quit" not in words.partition("sleep")[0]
        if container["name"] == "proxy":
            assert words.count("-s quit") == 1
            # The signal that follows ends it at once.
            assert sum(rests[1:]) > ApiSettings().max_wait
        assert sum(rests) < api["terminationGracePeriodSeconds"]
        assert api["terminationGracePeriodSeconds"] - rests[0] > ApiSettings().max_wait


@overlay
def test_two_of_each_are_on_different_nodes(overlay: str) -> None:
    for name, workload in workloads(overlay).items():
        if component(workload) in {"api", "worker", "worker-list"}:
            (spread,) = pod(workload)["topologySpreadConstraints"]
            assert (spread["topologyKey"], spread["maxSkew"]) == ("kubernetes.io/hostname", 1), name
            labels = workload["spec"]["template"]["metadata"]["labels"]
            assert spread["labelSelector"]["matchLabels"].items() <= labels.items(), name


@on_openshift
def test_the_proxy_has_space_for_buffered_responses(overlay: str) -> None:
    volumes = {volume["name"]: volume for volume in pod(workloads(overlay)["api"])["volumes"]}
    (largest,) = re.findall(r"proxy_max_temp_file_size (\w+);", (ROOT / "deploy/proxy/nginx.conf").read_text("utf-8"))
    # Of several slow readers at a time; a pod that needs more is ended.
    assert 8 * size(largest) <= mebibytes(volumes["proxy-tmp"]["emptyDir"]["sizeLimit"]) * 2**20
