"""Each process on a cluster is started as in Compose, and finds its settings, files and addresses."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from deploy.kubernetes.make_secrets import make
from tests.deploy.manifests import FOLDER, OVERLAYS, component, has_kubectl, main_container, of_kind, pod, rendered
from tests.deploy.test_compose_promises import SERVICES, size
from tests.deploy.test_kubernetes_promises import MANUAL, mebibytes, workloads

pytestmark = pytest.mark.skipif(not has_kubectl(), reason="kubectl is not here")
overlay = pytest.mark.parametrize("overlay", OVERLAYS)
on_openshift = pytest.mark.parametrize("overlay", ["test", "prod"])


def settings_of(overlay: str, start: str) -> dict[str, str]:
    """The data of the one ConfigMap whose name begins so."""
    (data,) = [each["data"] for name, each in of_kind(rendered(overlay), "ConfigMap").items() if name.startswith(start)]
    return dict(data)


@overlay
def test_each_process_is_started_as_in_compose(overlay: str) -> None:
    kept = ("--persistent", "--db", "--state_save_interval")
    for name, workload in workloads(overlay).items():
        part = component(workload)
        if part in {"api", "redis"}:
            continue
        expected = [word for word in SERVICES[part]["command"] if not word.startswith(kept)]
        if name == "worker-dummy":
            # One worker for everything.
            expected[-1] = "write,read,list"
        assert main_container(workload)["args"] == expected, name


@overlay
def test_sign_in_settings_are_set_for_front_end_and_flower_only(overlay: str) -> None:
    for name, workload in workloads(overlay).items():
        maps = [each["configMapRef"]["name"].rpartition("-")[0] for each in main_container(workload).get("envFrom", [])]
        expected = {"api": ["settings", "api-settings"], "flower": ["settings", "api-settings"], "redis": []}
        assert maps == expected.get(component(workload), ["settings"]), name


@overlay
def test_limits_are_not_below_requests_and_a_slow_start_is_tolerated(overlay: str) -> None:
    for name, workload in workloads(overlay).items():
        # Otherwise Flower takes the address of the service of its name (FLOWER_PORT) for its port.
        assert pod(workload)["enableServiceLinks"] is False, name
        for container in pod(workload)["containers"]:
            resources = container["resources"]
            memory = {kind: mebibytes(resources[kind]["memory"]) for kind in ("requests", "limits")}
            assert memory["requests"] <= memory["limits"] <= 4096, name
            # As with Compose, where all workers have what listings need; the proxy's answers are in files there.
            part = component(workload)
            if part != "worker" and container["name"] != "proxy":
                assert memory["limits"] == size(SERVICES[part]["mem_limit"]) // 2**20, name
            startup = container["startupProbe"]
            assert startup["periodSeconds"] * startup["failureThreshold"] >= 120, (name, container["name"])


@overlay
def test_workers_find_their_filers_and_the_credentials(overlay: str) -> None:
    manifests = rendered(overlay)
    maps = of_kind(manifests, "ConfigMap")
    for name, workload in workloads(overlay).items():
        if not component(workload).startswith("worker"):
            continue
        container = main_container(workload)
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod(workload)["volumes"]}
        environment = {each["name"]: each for each in container["env"]}
        folder, _, file = environment["SAPI_BACKENDS_FILE"]["value"].rpartition("/")
        assert folder == mounts["backends"], name
        table = tomllib.loads(maps[volumes["backends"]["configMap"]["name"]]["data"][file])
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert list(table) == [labels["storage-api/subsystem"]], name
        field_path = environment["SAPI_SUBSYSTEMS"]["valueFrom"]["fieldRef"]["fieldPath"]
        assert field_path == "metadata.labels['storage-api/subsystem']", name
        for options in table.values():
            files = [value["file"] for value in options.values() if isinstance(value, dict)]
            expected = ["username", "password"] if options["driver"] == "NetappStorage" else []
            assert files == [f"{mounts['filer']}/{key}" for key in expected], name


@overlay
def test_files_that_are_started_or_read_at_the_start_are_there(overlay: str) -> None:
    maps = of_kind(rendered(overlay), "ConfigMap")
    named = 0
    for name, workload in workloads(overlay).items():
        volumes = {each["name"]: each["configMap"]["name"] for each in pod(workload)["volumes"] if "configMap" in each}
        for container in pod(workload)["containers"]:
            words = " ".join([*container.get("command", ()), *container.get("args", ())]).split()
            for mount in (each for each in container["volumeMounts"] if each["name"] in volumes):
                files = {word.removeprefix(f"{mount['mountPath']}/") for word in words if mount["mountPath"] in word}
                assert files <= maps[volumes[mount["name"]]]["data"].keys(), name
                named += len(files)
    assert named >= 2


@overlay
def test_files_of_one_volume_are_written_by_one_pod(overlay: str) -> None:
    """Also during an update: two would write the same database."""
    for name, workload in of_kind(rendered(overlay), "Deployment").items():
        if [volume for volume in pod(workload)["volumes"] if "persistentVolumeClaim" in volume]:
            assert (workload["spec"]["replicas"], workload["spec"]["strategy"]) == (1, {"type": "Recreate"}), name
            assert "HorizontalPodAutoscaler" not in {
                each["kind"] for each in rendered(overlay) if each["metadata"]["name"] == name
            }


@overlay
def test_the_claim_of_redis_is_the_one_that_the_manual_restores(overlay: str) -> None:
    (claim,) = workloads(overlay)["redis"]["spec"]["volumeClaimTemplates"]
    restored = re.search(r"accessModes: (\[\w+\])\n  resources: \{requests: \{storage: (\w+)\}\}", MANUAL)
    assert restored
    assert f"[{', '.join(claim['spec']['accessModes'])}]" == restored[1]
    assert claim["spec"]["resources"]["requests"]["storage"] == restored[2]
    assert f"`{claim['metadata']['name']}-redis-0`" in MANUAL


@overlay
def test_monitoring_may_reach_the_ports_of_metrics(overlay: str) -> None:
    manifests = rendered(overlay)
    api = workloads(overlay)["api"]
    ports = {port["name"]: port["containerPort"] for port in main_container(api)["ports"]}
    annotations = api["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(ports["admin"])
    ((rule,),) = [of_kind(manifests, "NetworkPolicy")["admin"]["spec"]["ingress"]]
    assert rule["ports"] == [{"port": ports["admin"], "protocol": "TCP"}]
    (namespaces,) = rule["from"][0]["namespaceSelector"]["matchExpressions"]
    # OpenShift's Prometheus for what users run, which reads our ServiceMonitor, is in a namespace of its own.
    assert {"openshift-user-workload-monitoring", "monitoring"} <= set(namespaces["values"])


@overlay
def test_only_private_networks_are_trusted_for_forwarded_addresses(overlay: str) -> None:
    believed = settings_of(overlay, "api-settings")["SAPI_TRUSTED_NETWORKS"].split(",")
    assert [network for network in believed if not ip_network(network).is_private] == []
    # A router may have an address in any of them (RFC 1918, RFC 4193).
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"} <= set(believed)


@on_openshift
def test_the_console_links_to_the_route_of_flower(overlay: str) -> None:
    routes = of_kind(rendered(overlay), "Route")
    host = urlsplit(settings_of(overlay, "api-settings")["SAPI_FLOWER_URL"]).hostname
    assert host == routes["flower"]["spec"]["host"] != routes["api"]["spec"]["host"]


def test_overlays_do_not_share_names() -> None:
    namespaces = [{each["metadata"]["namespace"] for each in rendered(overlay)} for overlay in OVERLAYS]
    assert [len(each) for each in namespaces] == [1] * len(OVERLAYS)
    assert len(set[str]().union(*namespaces)) == len(OVERLAYS)
    assert namespaces[OVERLAYS.index("test")] == set(re.findall(r"^oc project (\S+)$", MANUAL, re.MULTILINE))


def test_passwords_that_are_made_cannot_be_guessed() -> None:
    made: dict[str, Any] = {each["metadata"]["name"]: each["stringData"] for each in make()}
    urls = [value for secret in made.values() for key, value in secret.items() if key.endswith("_url")]
    passwords = [urlsplit(url).password or "" for url in urls]
    passwords += [made["redis"]["health_password"], made["flower"]["basic_auth_password"]]
    assert len(passwords) == 7
    assert min(map(len, passwords)) >= 24
    assert min(len(made[name]["secret_key"]) for name in ("api", "flower")) >= 64


def test_examples_of_secrets_name_the_users_that_are_made() -> None:
    def users(secrets: Iterable[Any]) -> set[tuple[str, str, str | None]]:
        return {
            (each["metadata"]["name"], key, urlsplit(value).username)
            for each in secrets
            for key, value in each["stringData"].items()
            if key.endswith("_url")
        }

    examples = yaml.safe_load_all((FOLDER / "examples/secrets.yaml").read_text("utf-8"))
    assert users(examples) == users(make())


@overlay
def test_external_clients_reach_the_client_port_through_the_proxy_only(overlay: str) -> None:
    manifests = rendered(overlay)
    services = of_kind(manifests, "Service")
    for ingress in of_kind(manifests, "Ingress", may_be_none=True).values():
        for path in ingress["spec"]["rules"][0]["http"]["paths"]:
            backend = path["backend"]["service"]
            assert (backend["name"], backend["port"]) == ("api", {"name": "http"})
    api = pod(workloads(overlay)["api"])
    ports = {port["name"]: port["targetPort"] for port in services["api"]["spec"]["ports"]}
    proxies = [container for container in api["containers"] if container["name"] == "proxy"]
    assert ports == {"http": "proxy" if proxies else "http", "admin": "admin"}
    for container in proxies:
        (mount,) = [each["name"] for each in container["volumeMounts"] if each["mountPath"] == "/etc/storage-api"]
        (volume,) = [each for each in api["volumes"] if each["name"] == mount]
        settings = of_kind(manifests, "ConfigMap")[volume["configMap"]["name"]]["data"]
        assert settings.keys() == {"nginx.conf", "servers.conf"}
    # Routers are let in to the ports that they are led to.
    (rule,) = of_kind(manifests, "NetworkPolicy")["web"]["spec"]["ingress"]
    open_ports = {port["port"] for port in rule["ports"]}
    for name in ("api", "flower"):
        containers = pod(workloads(overlay)[name])["containers"]
        numbers = {port["name"]: port["containerPort"] for each in containers for port in each["ports"]}
        (target,) = [port["targetPort"] for port in services[name]["spec"]["ports"] if port["name"] == "http"]
        assert numbers[target] in open_ports, name


def test_no_container_runs_as_root_on_plain_kubernetes() -> None:
    for name, workload in workloads("plain").items():
        context = pod(workload)["securityContext"]
        assert context["runAsUser"] >= 1000, name
        # The images bind to no user, but to the group.
        assert (context["runAsGroup"], context["runAsNonRoot"]) == (0, True), name
        # Volumes are given to this group: without one, they are root's.
        assert context["fsGroup"] == context["runAsUser"], name
