"""Attempts to make the service call itself or a metadata service, each with the sender as it is."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from ipaddress import ip_address
from typing import Any
from unittest.mock import MagicMock

import pytest

from tests.worker.webhooks.receiver import HookReceiver
from worker.config.callback_hosts import CallbackHosts
from worker.webhooks.addresses import RefusedAddress, is_refused, resolve
from worker.webhooks.sending import NotSent, post

NAME = "hooks.example"
Names = Callable[..., list[list[str]]]


def _own_address() -> str:
    """The address from which this machine would call others; loopback where it has no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


@pytest.fixture
def own_port() -> Iterator[int]:
    """A port on all addresses of this machine, to which nothing connects until the test ends."""
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    with socket.create_server(("", 0), family=family, dualstack_ipv6=family == socket.AF_INET6) as server:
        server.setblocking(False)
        yield server.getsockname()[1]
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.fixture
def receiver() -> Iterator[HookReceiver]:
    """Answers without reading the request."""
    made = HookReceiver(answer=lambda _: 404)
    yield made
    made.close()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Lets a test choose what look-ups of NAME answer, one after the other; returns what is left of them."""
    ask: Any = socket.getaddrinfo

    def choose(*answers: list[str]) -> list[list[str]]:
        left = list(answers)

        def look_up(host: str, port: int, *more: Any, **options: Any) -> Any:
            addresses = left.pop(0) if host == NAME else [host]
            return [entry for address in addresses for entry in ask(address, port, *more, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        return left

    return choose


def _refused(url: str, hosts: str = "", why: str = "its address is") -> None:
    with pytest.raises(NotSent, match=why):
        post(url, b"{}", {}, CallbackHosts(hosts))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "169.254.169.254", "::1", "::", "fe80::1", "::ffff:127.0.0.1",
        "::ffff:169.254.169.254", "::127.0.0.1", "::ffff:0:127.0.0.1", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
        "fd00:c1::a9fe:a9fe", "100.100.100.200", "192.0.0.192", "168.63.129.16", "224.0.0.1", "ff02::1",
        "255.255.255.255", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:0:53aa:64c::5601:5601", "0.1.2.3",
    ],
)  # fmt: skip
def test_addresses_of_this_machine_and_of_metadata_are_refused(address: str):
    assert is_refused(ip_address(address))


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "192.168.1.1", "8.8.8.8", "2600::1", "::ffff:10.1.2.3", "64:ff9b::808:808"]
)
def test_other_addresses_are_allowed(address: str):
    assert not is_refused(ip_address(address))


def test_an_address_of_an_unsupported_family_is_not_this_machines_own(monkeypatch: pytest.MonkeyPatch):
    def no_such_family(*_: Any) -> socket.socket:
        raise OSError("Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", no_such_family)
    assert not is_refused(ip_address("2600::1"))


@pytest.mark.parametrize(("address", "family"), [("2600::1", socket.AF_INET6), ("10.1.2.3", socket.AF_INET)])
def test_an_address_that_a_socket_to_it_has_itself_is_this_machines_own(
    monkeypatch: pytest.MonkeyPatch, address: str, family: socket.AddressFamily
):
    made = MagicMock()
    made.return_value.__enter__.return_value.getsockname.return_value = (address, 40_000)
    monkeypatch.setattr(socket, "socket", made)
    assert is_refused(ip_address(address))
    made.assert_called_once_with(family, socket.SOCK_DGRAM)


def test_of_the_addresses_of_a_name_refused_ones_are_skipped(names: Names):
    names(["127.0.0.1", "10.1.2.3", "169.254.169.254", "10.1.2.2"])
    assert resolve(NAME, 443, CallbackHosts(NAME)) == ["10.1.2.3", "10.1.2.2"]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.0.0.1.", "localhost", "LOCALHOST", "localhost.", "127.1", "2130706433", "0x7f000001",
        "0x7f.0.0.1", "0177.0.0.1", "017700000001", "0", "0.0.0.0", "[::]", "[::1]", "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
        "[fe80::1%lo]", "[fe80::1%25lo]", _own_address(), f"[::ffff:{_own_address()}]",
    ],
)  # fmt: skip
def test_this_machine_is_refused_in_every_spelling(own_port: int, host: str):
    _refused(f"http://{host}:{own_port}/", why=r"its address is|\[Errno -\d\]")


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example@127.0.0.1:{port}/", "http://hooks.example:80@127.0.0.1:{port}/", "http://@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}#@hooks.example/", "http://hooks.example\\@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}\\@hooks.example/", "http://127.0.0.1:{port}/ @hooks.example/",
        "http://127.0.0.1:{port}/\r\nHost: hooks.example", "\thttp://127.0.0.1:{port}/", "http://127.0.0.1\t:{port}/",
        "http://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3:{port}/",  # "localhost" in circled letters
        "http://127\u30020\u30020\u30021:{port}/", "http://\uff11\uff12\uff17.0.0.1:{port}/",
        "http://[::1:{port}/", "http://127.0.0.1:9{port}99/", "http://127.0.0.1:-{port}/", "http:///127.0.0.1:{port}/",
        "http:127.0.0.1:{port}/", "//127.0.0.1:{port}/", "gopher://127.0.0.1:{port}/", "file://127.0.0.1:{port}/x",
    ],
)  # fmt: skip
def test_ambiguous_urls_are_refused(own_port: int, url: str):
    crafted = url.format(port=own_port)
    # The address is named: only how the URL is written is in the way.
    hosts = f"http://hooks.example,http://127.0.0.1:{own_port},http://localhost:{own_port}"
    _refused(crafted, hosts, why="the URL")
    assert not CallbackHosts(hosts).allow(crafted)


@pytest.mark.parametrize("host", ["127.0.0.1%2f", "127.0.0.1%00", "%6c%6f%63%61%6c%68%6f%73%74"])
def test_escapes_in_a_host_are_refused(own_port: int, host: str):
    _refused(
        f"http://{host}:{own_port}/", f"http://127.0.0.1:{own_port},http://localhost:{own_port}", why=r"\[Errno -\d\]"
    )


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["127.0.0.1", "::1"], ["0.0.0.0"], ["fe80::1%lo"], ["fe80::1%1"],
        ["169.254.169.254"], ["fd00:ec2::254"], ["64:ff9b::a9fe:a9fe"], [_own_address()],
    ],
)  # fmt: skip
def test_an_allowed_name_that_resolves_to_this_machine_is_refused(own_port: int, names: Names, answer: list[str]):
    names(answer)
    _refused(f"http://{NAME}:{own_port}/", f"http://{NAME}")


def test_a_name_is_resolved_once_for_an_attempt(receiver: HookReceiver, names: Names):
    url, hosts = f"http://{NAME}:{receiver.port}/", f"http://{NAME},127.0.0.1:{receiver.port}"
    with closing(socket.create_server(("127.0.0.2", receiver.port))) as other:
        other.setblocking(False)
        left = names(["127.0.0.1"], ["127.0.0.2"])
        assert post(url, b"{}", {}, CallbackHosts(hosts)) == 404
        assert left == [["127.0.0.2"]]
        with pytest.raises(BlockingIOError):
            other.accept()
    # The next attempt resolves it again, to an address that is refused.
    _refused(url, hosts)
    assert receiver.attempts == 1


def test_of_several_addresses_only_those_that_are_allowed_are_tried(receiver: HookReceiver, names: Names):
    names(["169.254.169.254", "127.0.0.2", "127.0.0.1"])
    hosts = CallbackHosts(f"http://{NAME},127.0.0.1:{receiver.port}")
    assert post(f"http://{NAME}:{receiver.port}/", b"{}", {}, hosts) == 404
    # Where no server listens at the first one, the second one is used.
    names(["127.0.0.2", "127.0.0.1"])
    hosts = CallbackHosts(f"http://{NAME},127.0.0.1:{receiver.port},127.0.0.2:{receiver.port}")
    assert post(f"http://{NAME}:{receiver.port}/", b"{}", {}, hosts) == 404


def test_an_address_allowed_with_its_port_is_refused_on_other_ports(own_port: int, receiver: HookReceiver):
    hosts = f"http://127.0.0.1:{receiver.port}"
    _refused(f"http://127.0.0.1:{own_port}/", hosts)
    assert post(f"http://127.0.0.1:{receiver.port}/", b"{}", {}, CallbackHosts(hosts)) == 404


def test_an_allowed_name_may_resolve_to_an_allowed_address(names: Names):
    names(["127.0.0.1"])
    assert resolve(NAME, 80, CallbackHosts(f"{NAME},127.0.0.1")) == ["127.0.0.1"]


def test_an_address_is_named_without_its_scope(monkeypatch: pytest.MonkeyPatch):
    found = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1%eth0", 80, 0, 2))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_options: found)
    assert resolve(NAME, 80, CallbackHosts(f"{NAME},[fe80::1]")) == ["fe80::1%eth0"]
    with pytest.raises(RefusedAddress):
        resolve(NAME, 80, CallbackHosts(NAME))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(own_port: int, receiver: HookReceiver, status: int):
    receiver.answer = lambda _: status
    receiver.location = f"http://127.0.0.1:{own_port}/"
    hosts = CallbackHosts(f"http://127.0.0.1:{receiver.port},http://127.0.0.1:{own_port}")
    assert post(f"http://127.0.0.1:{receiver.port}/", b"{}", {}, hosts) == status


def test_a_proxy_of_the_environment_is_not_used(own_port: int, receiver: HookReceiver, monkeypatch: pytest.MonkeyPatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{own_port}")
    hosts = CallbackHosts(f"http://127.0.0.1:{receiver.port}")
    assert post(f"http://127.0.0.1:{receiver.port}/", b"{}", {}, hosts) == 404
