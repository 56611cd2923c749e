"""What the manual promises of the Compose stack, and what its files, the images and the settings must agree on."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Any

import pytest
import yaml

from deploy.compose.make_secrets import READERS
from deploy.dev.environment import Ports
from deploy.dev.programs import programs
from tests.deploy.stack import ROOT

STACK: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
PROXY: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose/proxy.yml").read_text("utf-8").replace("!reset ", ""))[
    "services"
]["proxy"]
WORKER_IMAGE = (ROOT / "Dockerfile.worker").read_text("utf-8")
MANUAL = (ROOT / "docs/deployment.md").read_text("utf-8")
#: The services in each network: none reaches what it does not need.
NETWORKS = {
    "queue": {"redis", "api", "worker", "worker-list", "webhooks", "flower"},
    "filers": {"worker", "worker-list"},
    "receivers": {"webhooks"},
    "front": {"api", "flower"},
}
_BYTES = {"m": 2**20, "mb": 2**20, "g": 2**30, "gb": 2**30}


def default_of(text: str) -> str:
    """What a variable of Compose is by default."""
    return re.sub(r"\$\{\w+:?-([^}]*)\}", r"\1", text)


def size(text: str) -> int:
    """Bytes of a size as Compose and Redis write it."""
    match = re.fullmatch(r"(\d+)([a-z]+)", default_of(text))
    assert match, text
    return int(match[1]) * _BYTES[match[2]]


def redis_setting(name: str) -> str:
    """The value in the deployment's configuration of Redis."""
    match = re.search(rf"^{name} (.*)$", (ROOT / "deploy/redis/redis.conf").read_text("utf-8"), re.MULTILINE)
    assert match, name
    return match[1]


def test_each_service_is_in_the_networks_that_it_needs_and_in_no_other() -> None:
    assert STACK["networks"].keys() == NETWORKS.keys()
    for network, members in NETWORKS.items():
        assert {name for name, each in SERVICES.items() if network in each.get("networks", ())} == members, network
    # The service that makes secrets has no network; only Redis's network is internal: the others lead outside.
    assert SERVICES["secrets"]["network_mode"] == "none"
    assert [name for name, each in STACK["networks"].items() if (each or {}).get("internal")] == ["queue"]


@pytest.mark.parametrize("name", [*SERVICES, "proxy"])
def test_logs_and_memory_of_services_are_limited(name: str) -> None:
    service = {**SERVICES, "proxy": PROXY}[name]
    options = service["logging"]["options"]
    assert size(options["max-size"]) * int(options["max-file"]) <= 200 * 2**20
    assert [mount.startswith("/tmp:") and "size=" in mount for mount in service["tmpfs"]] == [True]
    if name != "secrets":
        assert 256 * 2**20 <= size(service["mem_limit"]) <= 4 * 2**30


def test_each_reader_of_secrets_gets_those_that_are_made_for_it() -> None:
    made = dict(mount.split(":")[:2] for mount in SERVICES["secrets"]["volumes"] if ":/secrets/" in mount)
    assert made == {f"{reader}-secrets": f"/secrets/{reader}" for reader in (*READERS, "redis")}
    read = {
        name: mount.split(":")[0]
        for name, each in SERVICES.items()
        for mount in each.get("volumes", ())
        if mount.endswith(":/run/storage-api:ro")
    }
    assert read == {name: f"{name.removesuffix('-list')}-secrets" for name in (*READERS, "redis", "worker-list")}


def test_the_proxy_is_confined_as_all_others_are() -> None:
    for key in ("read_only", "cap_drop", "security_opt", "user", "restart", "logging"):
        assert PROXY[key] == SERVICES["api"][key], key
    assert PROXY["networks"] == ["front"]


def test_redis_has_twice_its_maxmemory_and_time_to_save() -> None:
    held = size(redis_setting("maxmemory"))
    assert size(SERVICES["redis"]["mem_limit"]) >= 2 * held
    assert f"`maxmemory` ({held // 2**30} GB in `deploy/redis/redis.conf`)" in MANUAL
    assert int(SERVICES["redis"]["stop_grace_period"].removesuffix("s")) >= 60
    assert redis_setting("dir") in {mount.split(":")[1] for mount in SERVICES["redis"]["volumes"]}
    # As on a cluster: reading a big append-only file takes minutes, and nothing starts beside an unhealthy Redis.
    assert int(SERVICES["redis"]["healthcheck"]["start_period"].removesuffix("s")) >= 300


def test_redis_is_configured_as_the_manual_requires() -> None:
    demanded = re.search(r"append-only with `appendfsync (\w+)`[^,]*,\s*[^`]*`(\w+)`, and", MANUAL)
    assert demanded, "An external Redis"
    assert redis_setting("appendonly") == "yes"
    # Connections of a host that is gone end; those that wait for a job stay.
    assert 1 <= int(redis_setting("tcp-keepalive")) <= 300
    assert redis_setting("timeout") == "0"
    assert (redis_setting("appendfsync"), redis_setting("maxmemory-policy")) == demanded.groups()


def test_each_reads_its_secrets_and_state_where_its_volume_is() -> None:
    for name in ("api", "worker", "worker-list", "webhooks", "flower"):
        targets = {mount.split(":")[1]: mount.split(":")[2:] for mount in SERVICES[name]["volumes"]}
        assert targets[default_of(SERVICES[name]["environment"]["SAPI_SECRETS_DIR"])] == ["ro"], name
    (state,) = re.findall(r"SAPI_STATE_DIR=(\S+)", WORKER_IMAGE)
    for name in ("worker", "worker-list"):
        assert f"state:{state}" in SERVICES[name]["volumes"], name
    assert f"only `/tmp` and, for the dummy, `{state}` are" in " ".join(MANUAL.split())
    # Volumes take owner and mode from the image: any user of group 0 writes there, and what he writes is group 0's.
    (made,) = re.findall(r"^RUN install -d (.*?) /var", WORKER_IMAGE, re.MULTILINE)
    assert made == "-m 2775 -o 10001 -g 0"
    assert state in re.findall(r"^RUN install -d .*$", WORKER_IMAGE, re.MULTILINE)[0]


@pytest.mark.parametrize("name", ["api", "flower"])
def test_services_that_need_names_only_get_no_filer_configuration(name: str) -> None:
    """A variable that names the workers' file would have them read, or miss, a file of credentials."""
    environment = SERVICES[name]["environment"]
    assert (environment["SAPI_BACKENDS"], environment["SAPI_BACKENDS_FILE"]) == ("${SAPI_NAMES:-}", "")


def test_flower_stores_its_state_as_on_the_development_server() -> None:
    (flower,) = [program for program in programs(Ports.chosen({}), None) if program.name == "flower"]
    differs = ("--address", "--port", "--db")
    shared = {
        where: [word for word in command if word.startswith("--") and not word.startswith(differs)]
        for where, command in {"here": SERVICES["flower"]["command"], "there": flower.command}.items()
    }
    assert sorted(shared["here"]) == sorted(shared["there"])
    (file,) = [word.removeprefix("--db=") for word in SERVICES["flower"]["command"] if word.startswith("--db=")]
    assert f"flower-state:{file.rpartition('/')[0]}" in SERVICES["flower"]["volumes"]


def test_services_start_after_their_dependencies_are_ready() -> None:
    for name in NETWORKS["queue"] - {"redis"}:
        assert SERVICES[name]["depends_on"] == {"redis": {"condition": "service_healthy"}}, name
    assert SERVICES["redis"]["depends_on"] == {"secrets": {"condition": "service_completed_successfully"}}
    assert "health_password" in SERVICES["redis"]["healthcheck"]["test"][1]


def test_a_worker_has_the_time_that_the_manual_says() -> None:
    (seconds,) = re.findall(r"and has (\d+) seconds to finish", MANUAL)
    for name in ("worker", "worker-list"):
        assert SERVICES[name]["stop_grace_period"] == f"{seconds}s"


def test_redis_is_published_only_at_a_configured_address() -> None:
    published = yaml.safe_load((ROOT / "deploy/compose/published-redis.yml").read_text("utf-8"))["services"]
    assert published.keys() == {"redis"}
    (port,) = published["redis"]["ports"]
    # `:?` refuses the start without it: no default would open Redis to every network of the host.
    assert port.startswith("${SAPI_REDIS_ADDRESS:?")
    assert port.endswith(":6379")
    # Its own network is closed: ports are published by one that is not.
    assert set(published["redis"]["networks"]) == {"queue", "front"}


def test_capabilities_are_minimal_and_no_service_writes_to_the_host() -> None:
    added = {name: service["cap_add"] for name, service in SERVICES.items() if "cap_add" in service}
    # To read the operator's files; to give the data to the server's user, and become that user.
    assert added == {"secrets": ["DAC_READ_SEARCH"], "redis": ["CHOWN", "DAC_OVERRIDE", "SETGID", "SETUID"]}
    mounts = [mount for service in (*SERVICES.values(), PROXY) for mount in service.get("volumes", ())]
    of_the_host = [mount for mount in mounts if mount.startswith((".", "/"))]
    assert len(of_the_host) >= 5
    assert [mount for mount in of_the_host if not mount.endswith(":ro")] == []
    assert not [mount for mount in mounts if "docker.sock" in mount]


def test_each_check_is_about_its_own_process() -> None:
    (by_image,) = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", WORKER_IMAGE, re.MULTILINE)
    for name in ("worker", "worker-list", "webhooks"):
        command = SERVICES[name]["command"]
        check = SERVICES[name].get("healthcheck", {}).get("test", yaml.safe_load(by_image))
        assert check[check.index("--node") + 1] == command[command.index("--node") + 1], name
    # Redis's own is a user who may do nothing else.
    (user,) = re.findall(r"--user (\w+) ping", SERVICES["redis"]["healthcheck"]["test"][1])
    users = (ROOT / "deploy/redis/users.acl").read_text("utf-8")
    assert re.search(rf"^user {user} on \S+ resetkeys resetchannels -@all \+ping$", users, re.MULTILINE)


def test_an_empty_sign_in_setting_turns_it_off() -> None:
    """With ``:-`` an empty value in .env would be the default: everybody of that group, or the user of a first try."""
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    names = re.findall(r"\$\{(SAPI_(?:ROLE_\w+|BASIC_AUTH_USERNAME))(:?-)", text)
    assert len(names) == 3
    assert {operator for _, operator in names} == {"-"}


def test_the_proxy_has_space_for_buffered_responses() -> None:
    (kept,) = re.findall(r"size=(\w+)", PROXY["tmpfs"][0])
    (largest,) = re.findall(r"proxy_max_temp_file_size (\w+);", (ROOT / "deploy/proxy/nginx.conf").read_text("utf-8"))
    # Of several slow readers at a time; tmpfs counts as memory.
    assert 8 * size(largest) <= size(kept) < size(PROXY["mem_limit"])
    (listens,) = re.findall(r"listen (\d+) ", (ROOT / "deploy/proxy/nginx.conf").read_text("utf-8"))
    assert [port.rpartition(":")[2] for port in PROXY["ports"]] == [listens]


def test_check_and_rollout_look_for_the_process_that_nginx_records() -> None:
    (file,) = re.findall(r"^pid (\S+);", (ROOT / "deploy/proxy/nginx.conf").read_text("utf-8"), re.MULTILINE)
    assert PROXY["healthcheck"]["test"] == ["CMD-SHELL", f'kill -0 "$$(cat {file})"']
    assert f'kill -HUP "$(cat {file})"' in (ROOT / "deploy/compose/roll_out.sh").read_text("utf-8")


def test_the_proxy_trusts_private_networks_only_and_resolves_names_often() -> None:
    overlay = yaml.safe_load((ROOT / "deploy/compose/proxy.yml").read_text("utf-8").replace("!reset ", ""))
    networks = default_of(overlay["services"]["api"]["environment"]["SAPI_TRUSTED_NETWORKS"]).split(",")
    assert [network for network in networks if not ip_network(network).is_private] == []
    # Docker takes its networks out of all of these.
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"} <= set(networks)
    # FrontEnd ends come and go with each upgrade.
    (seconds,) = re.findall(r" valid=(\d+)s", (ROOT / "deploy/proxy/compose-servers.conf").read_text("utf-8"))
    assert int(seconds) <= 5
