"""Which address is asked, by which way, and which one an error names."""

from __future__ import annotations

import socket

import pytest

from storage_api_client.aio.driver import AsyncDriver
from storage_api_client.blocking.driver import Driver
from storage_api_client.protocol.messages import ConnectionLost, Request, send


@pytest.mark.parametrize("kind", [Driver, AsyncDriver])
def test_a_redirect_is_an_answer(kind: type[Driver | AsyncDriver]) -> None:
    """Nor are credentials sent to where it leads."""
    assert kind("https://storage.example.org")._http.follow_redirects is False


@pytest.mark.parametrize("kind", [Driver, AsyncDriver])
def test_this_machine_is_asked_without_a_proxy(kind: type[Driver | AsyncDriver]) -> None:
    assert kind("http://127.0.0.1:9")._http.trust_env is False
    assert kind("http://storage.example.org")._http.trust_env is True


def test_what_is_no_address_is_named() -> None:
    """An identity provider may say so of itself."""
    driver = Driver("http://127.0.0.1:9")
    with pytest.raises(ConnectionLost, match=r"^https://login\.example:x is no address") as lost:
        driver.run(send(Request("POST", "https://login.example:x/token", form={"a": "b"})))
    assert (lost.value.sent, lost.value.permanent) == (False, True)
    driver.close()


def test_what_does_not_answer_is_named() -> None:
    """An identity provider is not the service."""
    with socket.socket() as first, socket.socket() as second:
        addresses = []
        for each in (first, second):
            # It is taken, and nobody listens there.
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
