"""Pipelines keep to their schemas, say what the manual says of them, and scripts pass the linter."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.stack import ROOT

SCRIPTS = [".ci/run", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "deploy").rglob("*.sh"))]
SCRIPTS += ["client/tools/try_installed.sh"]
PIPELINES = {".gitlab-ci.yml": "vendor.gitlab-ci", ".github/workflows/ci.yml": "vendor.github-workflows"}


@pytest.mark.parametrize("file", PIPELINES)
def test_pipeline_keeps_to_the_schema(file: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", PIPELINES[file], str(ROOT / file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", PIPELINES)
def test_targets_that_pipelines_make_are_in_the_makefile(file: str) -> None:
    made = {
        word
        for line in re.findall(r"\bmake ([a-zA-Z_= ]+)", (ROOT / file).read_text("utf-8"))
        for word in line.split()
        if "=" not in word and word.islower()
    }
    there = set(re.findall(r"^([a-z_]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert made
    assert made <= there


RELEASE = "$CI_COMMIT_TAG =~ /^v[0-9]/"


@pytest.fixture(scope="module")
def gitlab() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text("utf-8"))
    return document


def test_gitlab_builds_images_of_release_tags_only(gitlab: dict[str, Any]) -> None:
    assert gitlab[".release"]["rules"] == [{"if": RELEASE}]
    for job in (".image", "try-images", ".scan"):
        assert gitlab[job]["extends"] == ".release"


def test_gitlab_has_one_pipeline_for_each_push(gitlab: dict[str, Any]) -> None:
    rules = gitlab["workflow"]["rules"]
    never = rules.index({"if": "$CI_COMMIT_BRANCH && $CI_OPEN_MERGE_REQUESTS", "when": "never"})
    assert never < rules.index({"if": "$CI_COMMIT_BRANCH"})


def test_gitlab_deploys_by_hand_what_was_tried_and_scanned(gitlab: dict[str, Any]) -> None:
    assert gitlab[".deploy"]["rules"] == [{"if": RELEASE, "when": "manual"}]
    assert {"test", "lint", "image-api", "image-worker", "try-images", "scan-api", "scan-worker"} <= set(
        gitlab[".cluster"]["needs"]
    )
    for job in ("dev-deploy", "prod-deploy"):
        assert gitlab[job]["extends"] == ".deploy"
        assert (ROOT / "deploy/kubernetes/overlays" / gitlab[job]["variables"]["OVERLAY"]).is_dir()


def test_gitlab_puts_the_manifests_of_a_release_into_both_environments(gitlab: dict[str, Any]) -> None:
    overlays = {gitlab[job]["variables"]["OVERLAY"] for job in ("dev-manifests", "prod-manifests")}
    assert overlays == {"test", "prod"}
    assert ".release" in gitlab[".manifests"]["extends"]
    assert gitlab[".manifests"]["script"][0].startswith("ONLY=template ")


def test_github_pushes_after_starting_and_scanning() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))["jobs"]
    assert jobs["image"]["if"] == "startsWith(github.ref, 'refs/tags/v')"
    steps = " ".join(step.get("run", "") for step in jobs["image"]["steps"])
    assert steps.index("try_service.py") < steps.index("--exit-code 1") < steps.index("docker push")


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_passes_the_linter(script: str) -> None:
    linter = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([linter, script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
