"""The Compose stack keeps to its schema, and gives each service every setting that it reads and no more."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.settings import ApiSettings
from deploy.compose import make_secrets
from deploy.docs import configuration
from tests.deploy.stack import ROOT, has_compose
from tests.launcher import clean_environment
from worker.catalog.operations import QueueClass

FILES = ("docker-compose.yml", "deploy/compose/proxy.yml", "deploy/compose/published-redis.yml")
TEXT = (ROOT / "docker-compose.yml").read_text("utf-8")
PROXY = (ROOT / "deploy/compose/proxy.yml").read_text("utf-8")
OURS = ("api", "worker", "worker-list", "webhooks", "flower", "secrets")
#: The services that are each process of the manual's page.
SERVICES = {
    "API": ("api",), "workers": ("worker", "worker-list"), "webhook workers": ("webhooks",), "Flower": ("flower",),
}  # fmt: skip
#: What the front end and Flower know of the storage systems is names only (SAPI_NAMES).
NAMES_ONLY = {("API", "SAPI_BACKENDS"), ("API", "SAPI_BACKENDS_FILE")}
NAMES_ONLY |= {("Flower", variable) for _, variable in NAMES_ONLY}
needs_compose = pytest.mark.skipif(not has_compose(), reason="Docker's Compose is not here")


def documented() -> list[tuple[str, str]]:
    """Every process and variable of the manual's page, files of secrets and names of the predecessor among them."""
    pairs = []
    for line in configuration.PAGE.read_text("utf-8").splitlines():
        if row := re.match(r"\| `([A-Z_]+)` \| ([^|]*) \|.*?\| ([^|`]+) \| [^|]* \|$", line):
            names = [row[1], *([f"{row[1]}_FILE"] if row[2].startswith("secret") else [])]
            # A developer's shell may have FLASK_DEBUG for other work: Compose does not hand that on.
            names += [name for name in re.findall(r"\(also as `([A-Z_]+)`\)", line) if name != "FLASK_DEBUG"]
            pairs += [(process, name) for process in row[3].split(", ") if process in SERVICES for name in names]
    return pairs


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    by_name: dict[str, Any] = yaml.safe_load(TEXT)["services"]
    return by_name


def rendered(settings: tuple[tuple[str, str], ...], file: Path) -> dict[str, dict[str, str]]:
    """The environment of each service when ``.env`` holds these settings."""
    file.write_text("".join(f"{name}={value}\n" for name, value in settings), "utf-8")
    command = ["docker", "compose", "--env-file", str(file), "config", "--format", "json"]
    done = subprocess.run(
        command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return {name: service.get("environment", {}) for name, service in json.loads(done.stdout)["services"].items()}


@pytest.mark.parametrize("file", FILES)
def test_file_matches_the_schema(file: str, tmp_path: Path) -> None:
    plain = tmp_path / "compose.yml"
    plain.write_text((ROOT / file).read_text("utf-8").replace("!reset ", ""), "utf-8")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(plain)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", [*OURS, "redis"])
def test_service_is_confined(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["user"].endswith(":0")


@pytest.mark.parametrize("name", ["api", "worker", "worker-list", "webhooks"])
def test_service_has_time_to_finish(services: dict[str, Any], name: str) -> None:
    assert services[name]["stop_grace_period"] == "45s"


def test_only_workers_reach_filers_and_redis_is_internal(services: dict[str, Any]) -> None:
    networks = {name: set(service.get("networks", ())) for name, service in services.items()}
    assert {name for name, reached in networks.items() if "filers" in reached} == {"worker", "worker-list"}
    assert networks["redis"] == {"queue"}
    assert yaml.safe_load(TEXT)["networks"]["queue"] == {"internal": True}


def test_ports_are_published_to_this_host_only_by_default(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", ())]
    ports += yaml.safe_load(PROXY.replace("!reset ", ""))["services"]["proxy"]["ports"]
    assert len(ports) == 3
    assert all(port.startswith("${SAPI_ADDRESS:-127.0.0.1}:") for port in ports), ports


def test_data_of_redis_is_in_a_volume(services: dict[str, Any]) -> None:
    assert "redis-data:/data" in services["redis"]["volumes"]
    assert "redis-data" in yaml.safe_load(TEXT)["volumes"]


def test_workers_serve_every_queue_and_flower_changes_nothing(services: dict[str, Any]) -> None:
    queues = [services[name]["command"][-1].split(",") for name in ("worker", "worker-list")]
    assert sorted(queues[0] + queues[1]) == sorted(QueueClass)
    assert "--read-only=True" in services["flower"]["command"]
    # What makes the secrets ends, and is not started again for that.
    assert services["secrets"]["restart"] == "no"
    assert {services[name]["restart"] for name in (*OURS, "redis") if name != "secrets"} == {"unless-stopped"}


def test_the_proxy_finishes_responses_and_is_trusted() -> None:
    services = yaml.safe_load(PROXY.replace("!reset ", ""))["services"]
    assert (services["proxy"]["stop_signal"], services["proxy"]["stop_grace_period"]) == ("SIGQUIT", "45s")
    assert services["api"]["environment"]["SAPI_TRUSTED_PROXIES"] == "${SAPI_TRUSTED_PROXIES:-1}"
    assert services["api"]["ports"] == []
    # Without the word Compose would add nothing to the ports that there are, and the front end keep its own.
    assert "    ports: !reset []\n" in PROXY


def test_every_documented_setting_is_passed_on(services: dict[str, Any]) -> None:
    """By the files alone: a name without a value in an ``env_file`` is what .env or the shell says."""
    wrong = []
    for process, variable in documented():
        for service in SERVICES[process]:
            first = services[service]["env_file"][0]
            passed = variable in (ROOT / first).read_text("utf-8").splitlines()
            value = services[service].get("environment", {}).get(variable)
            substituted = re.match(r"\$\{([A-Z0-9_]+)(:?-|\})", str(value))
            is_same_variable = value is None or (substituted is not None and substituted[1] == variable)
            if not (passed and (is_same_variable or (process, variable) in NAMES_ONLY)):
                wrong.append((service, variable, value))
    assert not wrong


@needs_compose
def test_every_documented_setting_arrives(tmp_path: Path) -> None:
    names = dict.fromkeys(name for _, name in documented())
    settings = tuple((name, f"value of {name}") for name in names)
    environments = rendered((*settings, ("SAPI_NAMES", "names only")), tmp_path / "settings.env")
    expected = {(process, name): f"value of {name}" for process, name in documented()}
    expected |= {pair: "names only" if pair[1] == "SAPI_BACKENDS" else "" for pair in NAMES_ONLY}
    wrong = [
        (service, variable)
        for process, variable in documented()
        for service in SERVICES[process]
        if environments[service].get(variable) != expected[process, variable]
    ]
    assert len(names) > 90
    assert not wrong


@needs_compose
def test_unset_variables_have_the_default_of_the_code(tmp_path: Path) -> None:
    environments = rendered((), tmp_path / "settings.env")
    assert set(environments["worker"]) == {"SAPI_SECRETS_DIR"}
    assert set(environments["api"]) - set(environments["worker"]) == {
        "SAPI_BACKENDS", "SAPI_BACKENDS_FILE", "SAPI_BASIC_AUTH_USERNAME", "SAPI_ROLE_ADMIN_GROUPS",
        "SAPI_ROLE_UBER_ADMIN_GROUPS",
    }  # fmt: skip


@needs_compose
def test_an_empty_setting_is_empty(tmp_path: Path) -> None:
    environments = rendered(
        (("SAPI_ROLE_ADMIN_GROUPS", ""), ("SAPI_BASIC_AUTH_USERNAME", "")), tmp_path / "settings.env"
    )
    assert (environments["api"]["SAPI_ROLE_ADMIN_GROUPS"], environments["api"]["SAPI_BASIC_AUTH_USERNAME"]) == ("", "")


@pytest.mark.parametrize("process", SERVICES)
def test_each_service_reads_the_list_of_its_process(services: dict[str, Any], process: str) -> None:
    lists = {name: path.relative_to(ROOT).as_posix() for name, path in configuration.ENV_FILES.items()}
    for service in SERVICES[process]:
        settings_file = {"path": lists[process].replace("settings/", ""), "required": False}
        assert services[service]["env_file"] == [lists[process], settings_file]


def test_front_end_sees_no_secret_of_workers(services: dict[str, Any]) -> None:
    api = services["api"]
    assert api["environment"]["SAPI_BACKENDS"] == "${SAPI_NAMES:-}"
    assert "filers" not in api["networks"]
    assert not any("worker" in volume for volume in api["volumes"])


def test_each_reads_only_its_own_secrets(services: dict[str, Any]) -> None:
    volumes = {name: {mount.partition(":")[0] for mount in services[name].get("volumes", [])} for name in services}
    for reader in ("api", "worker", "webhooks", "flower", "redis"):
        seen = {volume for volume in volumes[reader] if volume.endswith("-secrets")}
        assert seen == {f"{reader}-secrets"}


def test_the_example_has_every_variable_of_compose_with_its_default() -> None:
    files = "".join((ROOT / file).read_text("utf-8") for file in FILES)
    used = dict(re.findall(r"\$\{(SAPI_[A-Z_]+):?[-?]([^}$]*)", files))
    settings = {name for _, name in documented()}
    example = (ROOT / "deploy/compose/example.env").read_text("utf-8")
    examples = dict(re.findall(r"^#(SAPI_[A-Z_]+)=(.*)$", example, re.MULTILINE))
    assert examples.keys() <= used.keys() | settings
    ours = used.keys() - settings
    assert ours - examples.keys() == set()
    # What must be named, is another variable's value or stands for an example has none.
    others = {"SAPI_REDIS_ADDRESS", "SAPI_NAMES", "SAPI_VERSION", "SAPI_IMAGES", "SAPI_API_IMAGE", "SAPI_WORKER_IMAGE"}
    assert {name: examples[name] for name in ours - others} == {name: used[name] for name in ours - others}


def test_the_example_of_a_filer_reads_the_files_of_the_manual() -> None:
    tables = tomllib.loads((ROOT / "deploy/compose/backends.example.toml").read_text("utf-8")).values()
    read = {value["file"] for table in tables for value in table.values() if isinstance(value, dict)}
    manual = (ROOT / "docs/deployment.md").read_text("utf-8")
    assert read == set(re.findall(r"> deploy/compose/secrets/worker/(\w+)", manual)) != set()


def test_the_files_that_hold_settings_are_not_committed(services: dict[str, Any]) -> None:
    settings = [entry["path"] for service in services.values() for entry in service.get("env_file", ())[1:]]
    assert len(set(settings)) == len(configuration.ENV_FILES)
    secrets = [f"deploy/compose/secrets/{reader}/a_password" for reader in make_secrets.READERS]
    # The last two are written by commands of the manual.
    ignored = [".env", *sorted(set(settings)), *secrets, "redis_url", "redis-data.tar"]
    command = ["git", "check-ignore", *ignored]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode > 1:
        pytest.skip("this is no git checkout")
    assert done.stdout.split() == ignored


def test_the_stop_timeout_is_longer_than_a_wait() -> None:
    text = (ROOT / "Dockerfile.api").read_text("utf-8")
    limit = int(re.findall(r"GRANIAN_WORKERS_KILL_TIMEOUT=(\d+)", text)[0])
    assert ApiSettings().max_wait < limit < 45


@needs_compose
@pytest.mark.parametrize("files", [FILES[:1], FILES])
def test_docker_compose_accepts_the_files(files: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPI_REDIS_ADDRESS", "127.0.0.1")
    command = ["docker", "compose", *(word for file in files for word in ("-f", str(ROOT / file))), "config", "--quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
