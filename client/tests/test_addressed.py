"""To which address requests are sent, with or without a proxy, and which one an error names."""

from __future__ import annotations

import socket

import pytest

from storage_api_client.aio.driver import AsyncDriver
from storage_api_client.blocking.driver import Driver
from storage_api_client.protocol.messages import ConnectionLost, Request, send


@pytest.mark.parametrize("kind", [Driver, AsyncDriver])
def test_redirects_are_not_followed(kind: type[Driver | AsyncDriver]) -> None:
    """Credentials are not sent to its target."""
    assert kind("https://storage.example.org")._http.follow_redirects is False


@pytest.mark.parametrize("kind", [Driver, AsyncDriver])
def test_loopback_addresses_are_requested_without_a_proxy(kind: type[Driver | AsyncDriver]) -> None:
    assert kind("http://127.0.0.1:9")._http.trust_env is False
    assert kind("http://storage.example.org")._http.trust_env is True


def test_invalid_urls_are_reported() -> None:
    """For an identity provider the message is different."""
    driver = Driver("http://127.0.0.1:9")
    with pytest.raises(ConnectionLost, match=r"^https://login\.example:x is no address") as lost:
        driver.run(send(Request("POST", "https://login.example:x/token", form={"a": "b"})))
    assert (lost.value.sent, lost.value.permanent) == (False, True)
    driver.close()


def test_unreachable_urls_are_reported() -> None:
    """An identity provider is not the service."""
    with socket.socket() as first, socket.socket() as second:
        addresses = []
        for each in (first, second):
            # The port is in use, and no server listens there.
            each.bind(("127.0.0.1", 0))
            addresses.append(f"http://127.0.0.1:{each.getsockname()[1]}")
        service, provider = addresses
        driver = Driver(service)
        try:
            for path, address in (("/healthz", service), (f"{provider}/token", provider)):
                with pytest.raises(ConnectionLost) as lost:
                    driver.run(send(Request("GET", path)))
                assert f"at {address} " in lost.value.detail
                assert not lost.value.sent
        finally:
            driver.close()
