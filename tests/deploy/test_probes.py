"""What probes, load balancers and people are to ask: the manual says on every page what the files say."""

from __future__ import annotations

import json
import re
import socket

import pytest

from tests.deploy.manifests import has_kubectl, main_container, of_kind, rendered
from tests.deploy.stack import ROOT


def test_the_load_balancer_probes_the_liveness_endpoint() -> None:
    """A front end without Redis answers 503 with Retry-After, which is better than no response at all."""
    documented = []
    for page in sorted((ROOT / "docs").glob("*.md")):
        text = page.read_text("utf-8")
        addresses = re.findall(r"`(/healthz|/readyz)`[^`]*?load balancer", text)
        addresses += re.findall(r"load\s+balancers?\W[^`.]*\basks?\s+`(/[a-z]+)`", text)
        addresses += re.findall(r"load\s+balancer, which asks `(/[a-z]+)`", text)
        documented += [(page.name, address) for address in addresses]
    assert len({page for page, _ in documented}) >= 3
    assert {address for _, address in documented} == {"/healthz"}


class Answer:
    """A connection that was answered so."""

    def __init__(self, words: bytes) -> None:
        self.words = words
        self.sent = b""

    def sendall(self, words: bytes) -> None:
        self.sent += words

    def recv(self, size: int) -> bytes:
        return self.words[:size]


@pytest.mark.parametrize(
    ("port", "asked", "words", "is_well"),
    [
        ("8001", 8001, b"HTTP/1.1 200 OK\r\n", True),
        ("8001", 8001, b"HTTP/1.1 503 Service Unavailable\r\n", False),
        ("8001", 8001, b"", False),
        # Without an admin port the public one is probed; an empty variable is not set.
        ("0", 8000, b"HTTP/1.1 200 OK\r\n", True),
        ("", 8000, b"HTTP/1.1 200 OK\r\n", True),
        (None, 8000, b"HTTP/1.1 200 OK\r\n", True),
    ],
)
def test_the_health_check_of_the_image_probes_the_front_end(
    port: str | None, asked: int, words: bytes, is_well: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (check,) = re.findall(r"^  CMD (\[.*\])$", (ROOT / "Dockerfile.api").read_text("utf-8"), re.MULTILINE)
    *_, option, program = json.loads(check)
    addresses, answer = [], Answer(words)

    def connect(address: tuple[str, int], timeout_s: float) -> Answer:
        assert timeout_s < 15, "the limit of the check itself"
        addresses.append(address)
        return answer

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.delenv("SAPI_ADMIN_PORT", raising=False)
    if port is not None:
        monkeypatch.setenv("SAPI_ADMIN_PORT", port)
    with pytest.raises(SystemExit) as ended:
        exec(program, {})
    assert (option, bool(ended.value.code)) == ("-c", not is_well)
    assert addresses == [("127.0.0.1", asked)]
    assert answer.sent.startswith(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")


@pytest.mark.skipif(not has_kubectl(), reason="kubectl is not here")
def test_all_files_probe_the_same_endpoint() -> None:
    api = main_container(of_kind(rendered("prod"), "Deployment")["api"])
    assert {api[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")} == {
        "/healthz"
    }
    assert "GET /healthz HTTP" in (ROOT / "Dockerfile.api").read_text("utf-8")
