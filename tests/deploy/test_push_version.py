"""A release is a tag on a clean, checked commit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.stack import ROOT

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command in a small project that has a remote; its checks pass while there is a file ``good``."""
    place, remote = tmp_path / "project", tmp_path / "remote.git"
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHON": sys.executable,
        "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
    }  # fmt: skip

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    place.mkdir()
    (place / "pyproject.toml").write_text('[project]\nname = "storage-api"\nversion = "1.2.3"\n')
    (place / "Makefile").write_text("check:\n\t@test -f good\n")
    (place / "good").touch()
    for command in (
        ("git", "init", "--quiet", "--initial-branch=main"),
        ("git", "config", "user.email", "someone@example.org"),
        ("git", "config", "user.name", "Someone"),
        ("git", "init", "--quiet", "--bare", str(remote)),
        ("git", "remote", "add", "origin", str(remote)),
        ("git", "add", "."),
        ("git", "commit", "--quiet", "-m", "Begin"),
    ):
        assert run(*command).returncode == 0, command
    return run


def release(run: Run) -> subprocess.CompletedProcess[str]:
    return run("sh", str(ROOT / "deploy/push_version.sh"))


def remote_tags(run: Run) -> str:
    return run("git", "ls-remote", "--tags", "origin").stdout


def test_tag_is_the_version_and_is_pushed(run: Run) -> None:
    run("git", "tag", "v1.3.0")
    done = release(run)
    assert done.returncode == 0, done.stderr
    # This tag alone: another one that is here would start a release, too.
    assert [line.split("\t")[1] for line in remote_tags(run).splitlines()] == [
        "refs/tags/v1.2.3",
        "refs/tags/v1.2.3^{}",
    ]
    assert run("git", "rev-parse", "v1.2.3^{commit}").stdout == run("git", "rev-parse", "HEAD").stdout


def test_a_tree_with_changes_is_refused(run: Run) -> None:
    run("sh", "-c", "echo more >> Makefile")
    done = release(run)
    assert done.returncode == 1
    assert "not committed" in done.stderr
    assert not remote_tags(run)


def test_failing_checks_are_refused(run: Run) -> None:
    run("git", "rm", "--quiet", "good")
    run("git", "commit", "--quiet", "-m", "Break it")
    assert release(run).returncode == 1
    assert not remote_tags(run)
    assert not run("git", "tag").stdout


@pytest.mark.parametrize(
    ("check", "says"),
    [
        ("git commit --quiet --allow-empty -m Meanwhile", "checked out meanwhile"),
        ("echo more >> good", "changed the tree"),
    ],
)
def test_changes_made_during_the_checks_are_not_released(run: Run, check: str, says: str) -> None:
    run("sh", "-c", f'printf "check:\\n\\t@{check}\\n" > Makefile')
    run("git", "commit", "--quiet", "--all", "-m", "Change something in the checks")
    done = release(run)
    assert (done.returncode, remote_tags(run)) == (1, "")
    assert says in done.stderr


def test_a_tag_that_the_remote_refuses_is_deleted(run: Run) -> None:
    assert run("sh", "-c", "printf '#!/bin/sh\nexit 1\n' > ../remote.git/hooks/pre-receive").returncode == 0
    assert run("chmod", "+x", "../remote.git/hooks/pre-receive").returncode == 0
    done = release(run)
    assert (done.returncode, run("git", "tag").stdout) == (1, "")
    assert "did not take the tag" in done.stderr


def test_a_version_is_released_once(run: Run) -> None:
    assert release(run).returncode == 0
    done = release(run)
    assert done.returncode == 1
    assert "there already" in done.stderr
    # Released from another clone.
    run("git", "tag", "--delete", "v1.2.3")
    done = release(run)
    assert (done.returncode, run("git", "tag").stdout) == (1, "")
    assert "has v1.2.3 already" in done.stderr
