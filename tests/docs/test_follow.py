"""The manual's way to follow a job with curl ends in every case, and with a true exit status."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import TOP, blocks


class _Service(ThreadingHTTPServer):
    """Sends the given responses in order, and repeats the last one."""

    answers: list[tuple[int, dict[str, Any]]]


class _Handler(BaseHTTPRequestHandler):
    server: _Service

    def do_GET(self) -> None:
        answers = self.server.answers
        status, document = answers.pop(0) if len(answers) > 1 else answers[0]
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("ETag", f'"{len(answers)}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write no access log."""


@pytest.fixture
def service() -> Iterator[_Service]:
    with _Service(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def _follow(folder: Path, port: int, limit_s: int) -> int:
    """Run the commands of the page, without a configuration of curl."""
    (block,) = [candidate for candidate in blocks(TOP / "docs" / "clients.md") if "follow() {" in candidate.text]
    function = re.sub(r"^follow \$JOB\n", "", block.text, flags=re.MULTILINE)
    script = f"API=http://127.0.0.1:{port}\n{function}\nfollow /v4/jobs/x {limit_s}"
    return subprocess.run(
        ["bash", "-uo", "pipefail", "-c", script], cwd=folder, env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
        check=False, timeout=60,
    ).returncode  # fmt: skip


def _job(state: str, code: str = "") -> tuple[int, dict[str, Any]]:
    return 200, {"state": state, "error": {"code": code} if code else None}


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ([_job("queued"), _job("running"), _job("succeeded")], 0),
        ([_job("failed", "already-exists")], 1),
        ([_job("cancelled")], 1),
        ([_job("failed", "outcome-unknown")], 3),
        ([_job("failed", "backend-unavailable")], 75),
        ([(401, {})], 4),
        ([(404, {})], 5),
        ([(410, {})], 5),
        ([(503, {}), _job("succeeded")], 0),
    ],
)
def test_exit_status_of_the_job(tmp_path: Path, service: _Service, answers: list[tuple[int, Any]], status: int):
    service.answers = list(answers)
    assert _follow(tmp_path, service.server_port, 30) == status


def test_the_time_limit_ends_the_wait(tmp_path: Path, service: _Service):
    service.answers = [_job("running")]
    assert _follow(tmp_path, service.server_port, 1) == 124
    service.answers = [(503, {})]
    assert _follow(tmp_path, service.server_port, 1) == 75


def test_an_unreachable_service_is_unavailable(tmp_path: Path, service: _Service):
    port = service.server_port
    service.shutdown()
    service.server_close()
    assert _follow(tmp_path, port, 1) == 75
