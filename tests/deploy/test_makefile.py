"""What `make` would run, by its own word: a variable that is given reaches its command."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.deploy.stack import ROOT


def commands(*words: str) -> str:
    """What would be run; nothing is."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "--dry-run", *words], cwd=ROOT, env=kept, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (("logs", "JOB=a-job"), "-m deploy.dev.devserver logs a-job"),
        (("logs",), "tail -n 20 -F"),
        (("drain", "NODE=worker2"), "-m deploy.dev.devserver drain worker2"),
        (("resume", "NODE=worker2"), "-m deploy.dev.devserver resume worker2"),
        (("test",), "--numprocesses=5 "),
        (("test", "T=tests/api"), "--numprocesses=0 "),
        (("test", "ARGS=-x", "T=tests/api"), '-m "not bench and not chaos" -x tests/api'),
        (("test", "PROFILE=ci"), "--hypothesis-profile=ci "),
        (("push_version", "REMOTE=other"), "deploy/push_version.sh other"),
        (("lock", "UPGRADE=--upgrade"), "--upgrade --all-extras"),
    ],
)  # fmt: skip
def test_what_is_given_is_passed_on(words: tuple[str, ...], command: str) -> None:
    assert command in " ".join(commands(*words).split())


def test_images_say_of_which_commit_they_are_and_have_both_tags() -> None:
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    ).stdout.strip()
    builds = [line for line in commands("image", "PYTHON_IMAGE=base@sha256:1").splitlines() if "docker build" in line]
    assert len(builds) == 2
    for part, line in zip(("api", "worker"), builds, strict=True):
        assert f"--build-arg PYTHON_IMAGE=base@sha256:1 --build-arg REVISION={commit}" in line
        assert f"--file Dockerfile.{part} --tag storage-api/{part}:dev --tag storage-api/{part}:" in line
