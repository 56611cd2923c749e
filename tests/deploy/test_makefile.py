"""What `make` would run, by its own word: a variable that is given reaches its command."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

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
        # The python3 of the machine may be too old for it.
        (("push_version", "REMOTE=other"), "PYTHON=.venv/bin/python deploy/push_version.sh other"),
        (("lock", "UPGRADE=--upgrade"), "--upgrade --all-extras"),
        # Images hold the versions that are tested.
        (("lock",), "--no-emit-index-url -c requirements-dev.lock --extra api "),
        (("lock",), "--no-emit-index-url -c requirements-dev.lock --extra worker "),
        (("types",), "cd client && ../.venv/bin/python -m mypy"),
        (("imports",), "cd client && PYTHONPATH=. ../.venv/bin/lint-imports"),
        (("html",), "--fail-on-warning"),
        # A service that uses the usual ports may run beside it.
        (("run",), "SAPI_PORT=0 SAPI_FLOWER_PORT=0 docker compose up --detach --wait"),
        (("chaos", "REDIS_ARGS=--seconds 1"), "-m tests.chaos.redis_trouble --seconds 1"),
    ],
)  # fmt: skip
def test_arguments_are_passed_on(words: tuple[str, ...], command: str) -> None:
    assert command in " ".join(commands(*words).split())


def test_every_target_is_made_whatever_files_there_are() -> None:
    """There is a folder `client`: make would say that it is up to date."""
    text = (ROOT / "Makefile").read_text("utf-8").replace("\\\n", " ")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert sorted(phony.split()) == sorted(re.findall(r"^([a-z_]+):", text, re.MULTILINE))


def test_tests_write_bytecode() -> None:
    assert "\nunexport PYTHONDONTWRITEBYTECODE\n" in (ROOT / "Makefile").read_text("utf-8")


def test_editorconfig_matches_make_and_the_linter() -> None:
    text = (ROOT / ".editorconfig").read_text("utf-8")
    assert "[Makefile]\nindent_style = tab\n" in text
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]
    assert f"max_line_length = {linter['line-length']}\n" in text


@pytest.mark.parametrize(("status", "words"), [(0, ""), (1, "is older than 3.11; name another one")])
def test_an_interpreter_that_is_too_old_is_reported(status: int, words: str, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexit {status}\n")
    python.chmod(0o755)
    check, _, _ = commands("--always-make", "env", f"PYTHON={python}").partition(f"{python} -m venv")
    done = subprocess.run(["sh", "-c", check], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status
    assert words in done.stderr
    assert bool(words) == bool(done.stderr)


#: Writes down what it is to make, and fails at one of that.
_MAKE = """#!/bin/sh
echo "$*" >>{log}
[ "$1" != {failing} ]
"""


@pytest.mark.parametrize("failing", ["none", "env", "test", "lint", "client"])
def test_continuous_integration_runs_everything_and_stops_at_the_first_failure(failing: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for name, text in {"make": _MAKE.format(log=log, failing=failing), "chromium": "#!/bin/sh\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run([ROOT / ".ci/run"], env=environment, capture_output=True, text=True, timeout=60, check=False)
    made = ["env", "test", "lint types imports", "client client_test"]
    firsts = [line.split()[0] for line in made]
    assert log.read_text().splitlines() == made[: firsts.index(failing) + 1 if failing in firsts else None]
    assert (done.returncode == 0) == (failing == "none")


def test_images_say_of_which_commit_they_are_and_have_both_tags() -> None:
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    ).stdout.strip()
    builds = [line for line in commands("image", "PYTHON_IMAGE=base@sha256:1").splitlines() if "docker build" in line]
    assert len(builds) == 2
    for part, line in zip(("api", "worker"), builds, strict=True):
        assert f"--build-arg PYTHON_IMAGE=base@sha256:1 --build-arg REVISION={commit}" in line
        assert f"--file Dockerfile.{part} --tag storage-api/{part}:dev --tag storage-api/{part}:" in line
