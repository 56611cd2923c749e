"""The pipelines' trial of a service: it passes what works, and says what does not."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from deploy.image import try_service
from tests.deploy.stack import ROOT

#: What a front end answers, by the beginning of request and path.
Answers = dict[str, tuple[int, Any]]
_READY: dict[str, Any] = {
    "status": "ready",
    "queues": {"dummy.write": {"workers_online": 1}},
    "subsystems": {"dummy": {}},
}
GOOD: Answers = {
    "GET /readyz": (200, _READY),
    "GET /healthz": (200, {"version": "1.2.3"}),
    "POST /v4/dummy/volumes/": (201, {}),
    "GET /v4/dummy/volumes/": (200, {"name": "tried"}),
}


class FrontEnd(BaseHTTPRequestHandler):
    """Answers what the test says."""

    answers: ClassVar[Answers] = {}
    seen: ClassVar[list[tuple[str, str, str | None]]] = []

    def do_GET(self) -> None:
        self.seen.append((self.command, self.path, self.headers["Authorization"]))
        (status, document) = next(
            answer for start, answer in self.answers.items() if f"{self.command} {self.path}".startswith(start)
        )
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    listening = ThreadingHTTPServer(("127.0.0.1", 0), FrontEnd)
    threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    listening.server_close()


@pytest.fixture
def url(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A service with which all is well, by its address."""
    monkeypatch.setattr(try_service, "PATIENCE_S", 0.0)
    monkeypatch.setenv("SAPI_BASIC_AUTH_USERNAME", "pipeline")
    monkeypatch.setenv("SAPI_BASIC_AUTH_PASSWORD", "s3cret")
    monkeypatch.setattr(FrontEnd, "answers", GOOD)
    FrontEnd.seen.clear()
    return server


@pytest.mark.parametrize("version", ["v1.2.3", "1.2.3", ""])
def test_a_service_that_works_passes(url: str, version: str, capsys: pytest.CaptureFixture[str]) -> None:
    try_service.main(url, version)
    assert f"{url} runs 1.2.3: tried was made and read" in capsys.readouterr().out
    made, read = FrontEnd.seen[-2:]
    assert (made[:2], read[:2]) == (("POST", made[1]), ("GET", made[1]))
    basic = "Basic " + base64.b64encode(b"pipeline:s3cret").decode()
    assert {authorization for _, _, authorization in FrontEnd.seen} == {basic}


@pytest.mark.parametrize(
    ("request_", "answer", "complaint"),
    [
        ("GET /healthz", (200, {"version": "1.2.2"}), "not v1.2.3"),
        ("GET /readyz", (503, _READY), "readyz: 503"),
        # Something else answers there.
        ("GET /readyz", (200, b"<html>"), "readyz: 0"),
        (
            "GET /readyz",
            (200, {**_READY, "queues": {**_READY["queues"], "dummy.list": {"workers_online": 0}}}),
            "readyz: 200",
        ),
        ("GET /readyz", (200, {**_READY, "queues": {}}), "readyz: 200"),
        # A job that is not done yet is none that was done.
        ("POST /v4/dummy/volumes/", (202, {}), "POST http"),
        ("POST /v4/dummy/volumes/", (401, {}), "POST http"),
        ("GET /v4/dummy/volumes/", (404, {}), "GET: (404"),
    ],
)
def test_failures_are_reported(
    url: str, monkeypatch: pytest.MonkeyPatch, request_: str, answer: tuple[int, Any], complaint: str
) -> None:
    monkeypatch.setattr(FrontEnd, "answers", {**GOOD, request_: answer})
    with pytest.raises(SystemExit) as refused:
        try_service.main(url, "v1.2.3")
    assert complaint in str(refused.value)


def test_a_service_has_as_long_to_become_ready_as_its_containers() -> None:
    for part in ("api", "worker"):
        (seconds,) = re.findall(r"--start-period=(\d+)s", (ROOT / f"Dockerfile.{part}").read_text("utf-8"))
        assert int(seconds) <= try_service.PATIENCE_S


def test_an_unreachable_service_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(try_service, "PATIENCE_S", 0.0)
    with pytest.raises(SystemExit, match="readyz: 0"):
        try_service.main("http://127.0.0.1:1")
