"""Pipelines keep to their schemas, say what the manual says of them, and scripts pass the linter."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.deploy.stack import ROOT

SCRIPTS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "deploy").rglob("*.sh")) + [".ci/run"]
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


def test_gitlab_deploys_by_hand_and_builds_tags_only() -> None:
    jobs = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text("utf-8"))
    assert {"test", "lint", "image-api", "image-worker", "pages", "dev-deploy", "prod-deploy"} <= jobs.keys()
    assert jobs[".deploy"]["rules"] == [{"if": "$CI_COMMIT_TAG", "when": "manual"}]
    assert jobs[".image"]["rules"] == [{"if": "$CI_COMMIT_TAG"}]
    for job in ("dev-deploy", "prod-deploy"):
        assert (ROOT / "deploy/kubernetes/overlays" / jobs[job]["variables"]["OVERLAY"]).is_dir()


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_passes_the_linter(script: str) -> None:
    linter = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([linter, script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
