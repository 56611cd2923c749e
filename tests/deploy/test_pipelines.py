"""Pipelines keep to their schemas, say what the manual says of them, and scripts pass the linter."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.deploy.stack import ROOT

SCRIPTS = [".ci/run", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "deploy").rglob("*.sh"))]
SCRIPTS += ["client/tools/try_installed.sh"]
PIPELINES = {".gitlab-ci.yml": "vendor.gitlab-ci", ".github/workflows/ci.yml": "vendor.github-workflows"}


@pytest.mark.parametrize("file", PIPELINES)
def test_pipeline_matches_the_schema(file: str) -> None:
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


@pytest.fixture(scope="module")
def github() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    return document


def test_a_scan_fails_on_severe_vulnerabilities_with_a_fix(gitlab: dict[str, Any], github: dict[str, Any]) -> None:
    scans = [" ".join(gitlab[".scan"]["script"])]
    scans += [step["run"] for step in github["jobs"]["image"]["steps"] if "--severity" in step.get("run", "")]
    assert len(scans) == 2
    for scan in scans:
        words = scan.replace("\\", " ").split()
        assert words[words.index("--exit-code") + 1] == "1"
        assert words[words.index("--severity") + 1] == "HIGH,CRITICAL"
        assert "--ignore-unfixed" in words
    assert [gitlab[f"scan-{part}"]["variables"] for part in ("api", "worker")] == [{"PART": "api"}, {"PART": "worker"}]


def test_both_pipelines_run_every_check_on_every_python(gitlab: dict[str, Any], github: dict[str, Any]) -> None:
    commands = [" ".join(job["script"]) for job in gitlab.values() if isinstance(job, dict) and "script" in job]
    # Once with the many examples of the profile for continuous integration.
    assert "make test PROFILE=ci" in commands
    steps = [step.get("run", "") for step in github["jobs"]["test"]["steps"]]
    for text in (" ".join(commands), " ".join(steps)):
        made = {word for line in re.findall(r"make ([a-z_ ]+)", text) for word in line.split()}
        assert {"test", "lint", "types", "imports", "client", "client_test"} <= made
    versions = github["jobs"]["test"]["strategy"]["matrix"]["python"]
    images = [gitlab["variables"]["TEST_IMAGE"], gitlab["test-3.12"]["image"], gitlab["test-3.13"]["image"]]
    assert [re.search(r"python:([0-9.]+)-", image)[1] for image in images] == versions  # type: ignore[index]


def test_images_are_made_of_tested_trees_and_a_base_named_by_digest(
    gitlab: dict[str, Any], github: dict[str, Any]
) -> None:
    image = github["jobs"]["image"]
    assert image["needs"] == "test"
    assert image["permissions"] == {"contents": "read", "packages": "write"}
    # The run of a tag, or of the main branch, is not cancelled by the next push.
    assert github["concurrency"]["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}"
    # Whatever else a job may do is said where it does it.
    assert github["permissions"] == {"contents": "read"}
    assert '"$PYTHON_IMAGE" in *@sha256:*) ;; *)' in gitlab[".image"]["script"][0]
    assert '"$REDIS_IMAGE" in *@sha256:*) ;; *)' in gitlab[".cluster"]["before_script"][0]
    assert any('"$PYTHON_IMAGE" in *@sha256:*) ;; *)' in step.get("run", "") for step in image["steps"])
    stages = gitlab["stages"]
    assert stages.index("test") < stages.index("image") < stages.index("verify") < stages.index("deploy")


def test_deployments_of_one_environment_wait_for_each_other(gitlab: dict[str, Any]) -> None:
    for job, where in (("dev-deploy", "test"), ("prod-deploy", "prod")):
        assert (gitlab[job]["resource_group"], gitlab[job]["variables"]["OVERLAY"]) == (where, where)
        suffix = job.partition("-")[0].upper()
        variables = gitlab[job]["variables"]
        for name in ("NAMESPACE", "OPENSHIFT_SERVER", "IMPORT_TOKEN"):
            assert variables[name] == f"${name}_{suffix}"


def test_gitlab_checks_the_version_of_the_tag_and_stores_no_token(gitlab: dict[str, Any]) -> None:
    (trial,) = gitlab["try-images"]["script"]
    assert trial.endswith(' "$CI_COMMIT_TAG"')
    # A deployment that nobody has started yet is no pipeline that has failed, or that waits.
    assert gitlab[".deploy"]["allow_failure"] is True
    written = re.findall(r"KUBECONFIG=(\S+)", " ".join(gitlab[".cluster"]["before_script"]))
    assert gitlab[".cluster"]["after_script"] == [f"rm -f {file}" for file in written]


def test_the_trial_has_a_redis_that_workers_start_with(gitlab: dict[str, Any]) -> None:
    services = {each["alias"]: each for each in gitlab["try-images"]["services"]}
    redis = services[urlsplit(gitlab["try-images"]["variables"]["SAPI_REDIS_URL"]).hostname]
    # They refuse one without an append-only file; that it evicts nothing is its default.
    assert redis["command"][redis["command"].index("--appendonly") + 1] == "yes"
    assert urlsplit(gitlab["try-images"]["script"][0].split()[2]).hostname in services


def test_check_makes_all_that_continuous_integration_makes() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (parts,) = re.findall(r"^check:.*\n\t@for part in ([a-z ]+); do .*\|\| exit 1;", makefile, re.MULTILINE)
    assert parts.split() == ["lint", "types", "imports", "test"]
    # Before a commit all of it but the tests.
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]["hooks"]
    assert [(hook["id"], hook["entry"]) for hook in hooks] == [(part, f"make {part}") for part in parts.split()[:-1]]


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_passes_the_linter(script: str) -> None:
    linter = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([linter, script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", [script for script in SCRIPTS if "roll_" in script])
def test_script_without_arguments_prints_its_usage(script: str) -> None:
    done = subprocess.run(["sh", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    head = (ROOT / script).read_text("utf-8").partition("\nset -eu\n")[0].splitlines()[1:]
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [line.removeprefix("#").removeprefix(" ") for line in head]
