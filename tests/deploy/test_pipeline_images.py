"""On a Docker engine: the pipeline's trial of new images, as the pipeline runs it, in bare containers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.deploy.engine import NEEDS_ENGINE
from tests.deploy.stack import ROOT

pytestmark = NEEDS_ENGINE
NAME = f"sapi-pipeline-{os.getpid()}"
#: What GitLab gives to the job; the images are those of `make image`.
GIVEN = {
    "$CI_JOB_TOKEN": "a token of the job",
    "$CI_COMMIT_SHA": "0123456789" * 4,
    "$CI_REGISTRY_IMAGE": "storage-api",
    "$CI_COMMIT_TAG": "dev",
    "$REDIS_IMAGE": "docker.io/valkey/valkey:8-alpine",
}


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=300, check=check)


def filled(text: object) -> str:
    """The text with the values of GitLab's variables."""
    value = str(text)
    for variable, replacement in GIVEN.items():
        value = value.replace(variable, replacement)
    return value


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    job: dict[str, Any] = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text("utf-8"))["try-images"]
    return job


@pytest.fixture(scope="module")
def environment(job: dict[str, Any]) -> list[str]:
    return [word for name, value in job["variables"].items() for word in ("--env", f"{name}={filled(value)}")]


@pytest.fixture(scope="module", autouse=True)
def services(job: dict[str, Any], environment: list[str]) -> Iterator[None]:
    """The job's services in a network of their own."""
    docker("network", "create", NAME)
    started = []
    try:
        for service in job["services"]:
            image, command = filled(service["name"]), service.get("command", [])
            options = ["--network", NAME, "--network-alias", service["alias"], *environment]
            started.append(docker("run", "--detach", *options, image, *command).stdout.strip())
        yield
    finally:
        docker("rm", "--force", "--volumes", *started)
        docker("network", "rm", NAME)


def run(job: dict[str, Any], environment: list[str], tag: str) -> subprocess.CompletedProcess[str]:
    """The job's script in a container that has Python, and the repository."""
    (script,) = job["script"]
    options = ["--network", NAME, *environment, "--env", f"CI_COMMIT_TAG={tag}"]
    options += ["--volume", f"{ROOT}:/repository:ro", "--workdir", "/repository"]
    return docker(
        "run", "--rm", *options, "docker.io/library/python:3.12-slim", "sh", "-ec", script, check=False
    )  # fmt: skip


def version() -> str:
    """What the images say that they are."""
    code = "from importlib.metadata import version; print(version('storage-api'))"
    return docker("run", "--rm", "storage-api/api:dev", "python", "-c", code).stdout.strip()


def test_new_images_are_tried_with_one_job(job: dict[str, Any], environment: list[str]) -> None:
    done = run(job, environment, f"v{version()}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"runs {version()}: " in done.stdout


def test_images_of_another_version_are_refused(job: dict[str, Any], environment: list[str]) -> None:
    done = run(job, environment, "v99.0.0")
    assert done.returncode == 1
    assert "not v99.0.0" in done.stderr
