"""The health check of worker containers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.deploy.stack import ROOT
from worker import health_report, healthcheck
from worker.maintenance.health_reporter import report_health


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("SAPI_HEALTH_DIR", str(tmp_path / "health"))
    return tmp_path / "health"


def test_a_worker_with_a_recent_report_is_alive(folder: Path) -> None:
    health_report.write("worker", health_report.OK)
    assert healthcheck.main([]) == 0
    assert healthcheck.main(["--node", "worker", "--forgive-redis"]) == 0
    assert healthcheck.main(["--node", "other"]) == 1
    # No other user may report in its place.
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("node", "seconds_ago"), [("worker", 21), ("other", 3), ("worker", -60)])
def test_reports_of_other_and_earlier_workers_are_ignored(
    node: str, seconds_ago: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moment = time.monotonic() - seconds_ago
    with monkeypatch.context() as then:
        then.setattr(time, "monotonic", lambda: moment)
        health_report.write(node, health_report.OK)
    assert healthcheck.main([]) == 1
    assert "its log says" in capsys.readouterr().out


def test_without_redis_it_is_not_alive_unless_that_is_tolerated(capsys: pytest.CaptureFixture[str]) -> None:
    health_report.write("worker", health_report.REDIS_UNAVAILABLE)
    assert healthcheck.main([]) == 1
    assert "Redis" in capsys.readouterr().out
    assert healthcheck.main(["--forgive-redis"]) == 0


def test_the_last_report_is_used(folder: Path) -> None:
    for state, status in ((health_report.OK, 0), (health_report.REDIS_UNAVAILABLE, 1), (health_report.OK, 0)):
        health_report.write("worker", state)
        assert healthcheck.main([]) == status
    assert [path.name for path in folder.iterdir()] == ["worker.health"]


def test_a_worker_that_consumes_no_messages_is_never_alive(capsys: pytest.CaptureFixture[str]) -> None:
    health_report.write("worker", health_report.CONSUMER_SILENT)
    assert healthcheck.main(["--forgive-redis"]) == 1
    assert "takes no messages" in capsys.readouterr().out


def test_a_truncated_report_is_ignored(folder: Path) -> None:
    health_report.write("worker", health_report.OK)
    (folder / "worker.health").write_text("12", "ascii")
    assert healthcheck.main([]) == 1


def test_an_error_when_writing_a_report_is_ignored(folder: Path) -> None:
    folder.write_text("a file in its place")
    report_health("worker", health_report.OK)
    assert health_report.read("worker") is None


def test_wrong_arguments_print_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--lane"], ["--node"], ["--lane", "worker"], ["--node", "worker", "other"]):
        assert healthcheck.main(words) == 2
        assert "usage" in capsys.readouterr().err


def test_the_folder_of_reports_is_configurable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert health_report.path("a") == f"{folder}/a.health"
    monkeypatch.delenv("SAPI_HEALTH_DIR")
    assert health_report.path("a") == f"/tmp/storage-api-{os.getuid()}/a.health"


def test_it_imports_few_modules() -> None:
    code = "import sys; before = set(sys.modules); import worker.healthcheck; print(*sorted(set(sys.modules) - before))"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    imported = set(done.stdout.split())
    assert "worker.healthcheck" in imported
    assert not imported & {"redis", "pydantic", "argparse", "typing", "pathlib", "re", "json", "tempfile"}
