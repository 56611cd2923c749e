"""What `make status` says about a development server that does not work."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from deploy.dev import advice
from deploy.dev.advice import about_processes, about_service
from deploy.dev.embedded_redis import free_port
from deploy.dev.readiness import answers, ready_state
from deploy.dev.state import DevServerError

WELL: dict[str, Any] = {
    "status": "ready",
    "queues": {"one.write": {"workers_online": 1, "waiting": 3}},
    "subsystems": {"one": {"status": "available"}, "new": {}},
}


@pytest.mark.parametrize(
    ("state", "advice"),
    [
        (WELL, []),
        (None, ["the API does not answer on port 8000: see "]),
        (
            WELL | {"status": "not-ready", "detail": "its memory is full"},
            ["no job can be recorded: its memory is full"],
        ),
        (
            WELL | {"queues": {"one.list": {"workers_online": 0, "waiting": 7}}},
            ["no worker serves one.list, where 7 jobs wait: make resume NODE=..."],
        ),
        (
            WELL | {"queues": {"one.list": {"workers_online": 0, "waiting": 0}}},
            ["no worker serves one.list, where 0 jobs wait: make resume NODE=..."],
        ),
        (
            WELL | {"subsystems": {"one": {"status": "unavailable", "detail": "No route."}}},
            ["the storage system one cannot be used: No route."],
        ),
    ],
)
def test_advice_is_given_for_every_state_of_the_service(
    monkeypatch: pytest.MonkeyPatch, state: dict[str, Any] | None, advice: list[str]
) -> None:
    monkeypatch.setattr("deploy.dev.advice.ready_state", lambda _port: state)
    said = list(about_service(8000))
    assert len(said) == len(advice)
    assert all(line.startswith(expected) for line, expected in zip(said, advice, strict=True))


def test_stopped_processes_are_reported_but_not_a_drained_worker() -> None:
    states = {"api": "RUNNING", "redis": "STARTING", "flower": "FATAL", "worker1": "STOPPED", "worker2": "BACKOFF"}
    starting, flower, drained, crashing = about_processes(
        [{"name": name, "statename": state} for name, state in states.items()]
    )
    assert starting.startswith("redis is starting; the end of ")
    assert flower.startswith("flower does not run (FATAL)")
    assert drained == "worker1 is drained: make resume NODE=worker1"
    assert crashing.startswith("worker2 does not run (BACKOFF)")
    # Only workers are drained, and resumed.
    (stopped,) = about_processes([{"name": "flower", "statename": "STOPPED"}])
    assert stopped.startswith("flower does not run (STOPPED)")


class Program(BaseHTTPRequestHandler):
    """A program that listens on a port."""

    answer: ClassVar[tuple[int, bytes]] = (200, b"")

    def do_GET(self) -> None:
        status, body = self.answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nothing."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where it listens."""
    server = HTTPServer(("127.0.0.1", 0), Program)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "state"),
    [
        (200, b'{"status": "ready"}', {"status": "ready"}),
        (503, b'{"status": "not-ready"}', {"status": "not-ready"}),
        # What listens there is another program.
        (200, b"<html>", None),
        (404, b"<html>", None),
        (200, b"[1]", None),
    ],
)
def test_the_reason_of_a_service_that_is_not_ready_is_shown(
    monkeypatch: pytest.MonkeyPatch, port: int, status: int, body: bytes, state: dict[str, Any] | None
) -> None:
    monkeypatch.setattr(Program, "answer", (status, body))
    assert ready_state(port) == state
    assert answers(port, "/readyz") is (status == 200)


def test_without_a_listening_server_no_state_is_returned() -> None:
    port = free_port()
    assert (ready_state(port), answers(port, "/readyz")) == (None, False)


def test_log_lines_of_a_job_are_merged_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "DEV_DIR", tmp_path)
    (tmp_path / "logs").mkdir()
    # supervisord puts a number to a log that was full.
    for name, second, key in (("api.log", 3, "timestamp"), ("api.log.1", 1, "timestamp"), ("worker1.log", 2, "time")):
        lines = [f'{{"job_id": "{job}", "{key}": "2026-01-01T00:00:0{second}Z"}}' for job in ("a-job", "other")]
        (tmp_path / "logs" / name).write_text("\n".join(lines))
    assert [re.findall(r"0(\d)Z", line) for line in advice.log_lines(" A-JOB ")] == [["1"], ["2"], ["3"]]
    for nobody in ("", "no-such-job"):
        with pytest.raises(DevServerError, match="names the job"):
            advice.log_lines(nobody)
