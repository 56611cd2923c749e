"""The Compose stack keeps to its schema, tells each service what it needs, and names no variable that nobody reads."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from api.auth.settings import AuthSettings
from api.settings import ApiSettings
from tests.deploy.stack import ROOT, has_engine
from worker.config.settings import Settings

FILES = ("docker-compose.yml", "deploy/compose/netapp.yml")
TEXT = (ROOT / "docker-compose.yml").read_text("utf-8")
#: Read elsewhere than in settings classes.
OTHERS = {"SAPI_BACKENDS", "SAPI_BACKENDS_FILE", "SAPI_STATE_DIR"}
OURS = ("api", "worker", "worker-list", "flower", "secrets")


def known_variables() -> set[str]:
    names = {f"SAPI_{name}".upper() for each in (Settings, ApiSettings, AuthSettings) for name in each.model_fields}
    return names | {f"{name}_FILE" for name in names} | OTHERS


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(TEXT)["services"]
    return found


@pytest.mark.parametrize("file", FILES)
def test_file_keeps_to_the_schema(file: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(ROOT / file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", [*OURS, "redis"])
def test_service_is_confined(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["user"].endswith(":0")


@pytest.mark.parametrize("name", ["api", "worker", "worker-list"])
def test_service_has_time_to_finish(services: dict[str, Any], name: str) -> None:
    assert services[name]["stop_grace_period"] == "45s"


def test_variables_of_services_are_ones_that_the_code_reads(services: dict[str, Any]) -> None:
    told = {variable for service in services.values() for variable in service.get("environment", {})}
    assert {variable for variable in told if variable.startswith("SAPI_")} <= known_variables()


def test_front_end_is_told_names_and_sees_no_secret_of_workers(services: dict[str, Any]) -> None:
    api = services["api"]
    assert api["environment"]["SAPI_BACKENDS"].startswith("${SAPI_NAMES")
    assert "filers" not in api["networks"]
    assert not any("worker" in volume for volume in api["volumes"])
    assert set(yaml.safe_load((ROOT / FILES[1]).read_text("utf-8"))["services"]) == {"worker", "worker-list"}


def test_each_reads_only_its_own_secrets(services: dict[str, Any]) -> None:
    volumes = {name: {each.partition(":")[0] for each in services[name].get("volumes", [])} for name in services}
    for reader in ("api", "worker", "flower", "redis"):
        seen = {volume for volume in volumes[reader] if volume.endswith("-secrets")}
        assert seen == {f"{reader}-secrets"}


def test_every_variable_of_the_example_is_used_with_the_default_that_it_says() -> None:
    used = dict(re.findall(r"\$\{(SAPI_[A-Z_]+):?-([^}$]*)", TEXT))
    example = (ROOT / "deploy/compose/example.env").read_text("utf-8")
    shown = dict(re.findall(r"^#(SAPI_[A-Z_]+)=(.*)$", example, re.MULTILINE))
    assert set(shown) <= set(used)
    for variable in ("SAPI_ADDRESS", "SAPI_PORT", "SAPI_FLOWER_PORT", "SAPI_UID", "SAPI_WORKERS", "SAPI_APIS"):
        assert shown[variable] == used[variable]


def test_waiting_clients_are_answered_before_the_server_gives_up() -> None:
    text = (ROOT / "Dockerfile.api").read_text("utf-8")
    limit = int(re.findall(r"GRANIAN_WORKERS_KILL_TIMEOUT=(\d+)", text)[0])
    assert ApiSettings().max_wait < limit < 45


@pytest.mark.skipif(not has_engine(), reason="no Docker engine answers")
@pytest.mark.parametrize("files", [FILES[:1], FILES])
def test_compose_reads_it(files: tuple[str, ...]) -> None:
    command = ["docker", "compose", *(word for file in files for word in ("-f", str(ROOT / file))), "config", "--quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
