"""What was allowed when a callback was accepted is looked at again when it is sent."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from worker.config.callback_hosts import CallbackHosts
from worker.webhooks.addresses import RefusedAddress, resolve
from worker.webhooks.outbox import Delivery
from worker.webhooks.tasks import DeliverTask

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class _Outbox:
    """One delivery; ``ends`` are the results of its attempts."""

    def __init__(self, url: str) -> None:
        self.delivery = Delivery("msg_1", "", url, b"{}", "job")
        self.ends: list[str] = []

    def get(self, _delivery_id: str) -> Delivery:
        return self.delivery

    def end(self, _delivery_id: str, error: str) -> str:
        self.ends.append(error)
        return "again"


@pytest.mark.parametrize(
    ("url", "secret", "sent"),
    [
        ("https://hooks.example/x", SECRET, True),
        ("https://other.example/x", SECRET, False),
        ("http://hooks.example/x", SECRET, False),
        ("https://hooks.example/x", "", False),
    ],
)
def test_a_callback_is_sent_only_if_still_allowed(monkeypatch: pytest.MonkeyPatch, url: str, secret: str, sent: bool):
    posted: list[str] = []

    def post(url: str, *_: Any) -> int:
        posted.append(url)
        return 204

    monkeypatch.setattr("worker.webhooks.tasks.post", post)
    outbox: Any = _Outbox(url)
    DeliverTask(outbox, {}, secret, CallbackHosts("hooks.example"), lambda _target: None).run("msg_1")
    assert posted == ([url] if sent else [])
    assert outbox.ends == ["" if sent else "callbacks to this host are not allowed"]


def test_localhost_that_is_not_this_machine_is_refused(monkeypatch: pytest.MonkeyPatch):
    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
    with pytest.raises(RefusedAddress):
        resolve("localhost", 80, CallbackHosts("http://localhost:80"))


@pytest.mark.parametrize(
    ("entry", "is_allowed"), [("http://localhost:80", True), ("http://localhost:81", False), ("", False)]
)
def test_localhost_is_allowed_by_an_entry_with_its_port(entry: str, *, is_allowed: bool):
    if is_allowed:
        assert "127.0.0.1" in resolve("localhost", 80, CallbackHosts(entry))
    else:
        with pytest.raises(RefusedAddress):
            resolve("localhost", 80, CallbackHosts(entry))


def test_an_entry_allows_its_port_and_scheme_alone():
    hosts = CallbackHosts(
        "One.example:8443, http://two.example, three.example, http://four.example:80, six.example:443, localhost:8"
    )
    allowed = {
        "https://one.example:8443/x": True, "https://one.example/x": False, "http://one.example:8443/x": False,
        "http://two.example/x": True, "https://two.example:9/x": True, "https://three.example/x": True,
        "http://three.example/x": False, "https://five.example/x": False, "http://four.example/x": True,
        "https://four.example/x": False, "https://six.example/x": True, "https://notthree.example/x": False,
        "https://three.example.evil.example/x": False, "http://localhost:8/x": True, "http://localhost:9/x": False,
        f"https://three.example/{'x' * 1978}": True, f"https://three.example/{'x' * 1979}": False,
    }  # fmt: skip
    assert {url: hosts.allow(url) for url in allowed} == allowed


@pytest.mark.parametrize(
    "url",
    [
        "https://ann@one.example/", "https://:s3cret@one.example/", "https://one.example/#part", "https:///x",
        "https://one.example/a b", "https://one.example/a\\b", "https://one.example/\x7f", "https://one.example/\t",
        "https://one.example/é", "one.example", "ftp://one.example/", "https://one.example:65536/",
    ],
)  # fmt: skip
def test_malformed_urls_are_refused(url: str):
    hosts = CallbackHosts("one.example")
    assert hosts.allow("https://one.example/a?b=%23c")
    assert not hosts.allow(url)


@pytest.mark.parametrize("entry", ["ann@one.example", "one.example/path", "ftp://one.example", "https://"])
def test_invalid_hosts_are_refused_as_entries(entry: str):
    with pytest.raises(ValueError, match="is neither host nor"):
        CallbackHosts(entry)


@pytest.mark.parametrize(
    ("entry", "url", "is_allowed"),
    [
        ("[2001:db8::1]", "https://[2001:0DB8:0::1]/x", True),
        ("[2001:DB8:0::1]:8443", "https://[2001:db8::1]:8443/x", True),
        ("10.0.0.1", "https://[::ffff:10.0.0.1]/x", True),
        ("Hooks.example", "https://HOOKS.example/x", True),
        ("[2001:db8::1]", "https://[2001:db8::2]/x", False),
        ("10.0.0.1", "https://[::10.0.0.1]/x", False),
    ],
)
def test_an_address_is_the_same_in_every_spelling(entry: str, url: str, *, is_allowed: bool):
    assert CallbackHosts(entry).allow(url) is is_allowed


@pytest.mark.parametrize(
    "entry",
    [
        "2001:db8::1",
        "host:99999",
        "host:0",
        "[zz]",
        "ftp://host",
        "user@host",
        "host/path",
        "host?a",
        "host#a",
        "*.host",
        "a b",
        "10.0.0.0/8",
    ],
)
def test_an_invalid_entry_is_reported(entry: str):
    with pytest.raises(ValueError, match="is neither host nor"):
        CallbackHosts(entry)
