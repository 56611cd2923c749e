"""Which values signing in uses: of its options, else of the profile, else of the service."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock, patch

import pytest

from flows import answer
from storage_api_client.cli import login
from storage_api_client.cli.state import State
from storage_api_client.configuration.files import Profile
from storage_api_client.protocol.messages import Ended, Flow, Pause, Request, Response, advance

_SERVICE = "http://127.0.0.1:9"
_WELL_KNOWN = "/.well-known/openid-configuration"
_SOURCES = ("option", "profile", "service")
_VALUES = {
    "issuer": [f"http://127.0.0.1:{port}" for port in (1, 2, 3)],
    "client_id": ["c1", "c2", "c3"],
    "audience": ["a1", "a2", "a3"],
    "scope": ["s1", "s2"],  # A service names none.
}


class _Provider:
    """A driver whose service announces an identity provider, and that provider."""

    def __init__(self, announced: dict[str, str]) -> None:
        metadata = {"resource": _SERVICE, "authorization_servers": [announced.pop("issuer", _VALUES["issuer"][2])]}
        self.announced = metadata | {"client_id": "c"} | announced
        self.sent: list[Request] = []

    def run(self, flow: Flow[Any]) -> Any:
        command = advance(flow)
        while not isinstance(command, Ended):
            command = advance(flow, None if isinstance(command, Pause) else self._answer(command.request))
        return command.value

    def close(self) -> None:
        """There is nothing to close."""

    def _answer(self, request: Request) -> Response:
        self.sent.append(request)
        if not request.form:
            return answer(200, _metadata(request.path) if _WELL_KNOWN in request.path else self.announced)
        device = {"device_code": "d", "user_code": "u", "verification_uri": "v", "interval": 0}
        return answer(200, device if request.path.endswith("/device") else {"access_token": "t"})


def _metadata(path: str) -> dict[str, str]:
    issuer = path.removesuffix(_WELL_KNOWN)
    return {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/token",
        "device_authorization_endpoint": f"{issuer}/device",
    }


def _sign_in(values: dict[str, dict[str, str]], **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the provider is asked for first, with its address as ``issuer``; and what is stored."""
    driver = _Provider(dict(values.get("service", {})))
    state = State(_found=Mock(url=_SERVICE, profile=Profile("p", **values.get("profile", {}))))  # type: ignore[arg-type]
    options: dict[str, Any] = dict.fromkeys(_VALUES) | {"browser": False, "basic": None, "client_credentials": False}
    with patch.object(login, "Driver", Mock(return_value=driver)), patch.object(login, "_keep") as kept:
        login.sign_in(state, **options | values.get("option", {}) | more)
    first = next((request for request in driver.sent if request.form), None)
    form = {"issuer": first.path.rpartition("/")[0], **(first.form or {})} if first else {}
    return form, kept.call_args.args[1]


@pytest.mark.parametrize("as_machine", [True, False])
@pytest.mark.parametrize("name", _VALUES)
def test_the_nearest_value_is_used(name: str, as_machine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_API_CLIENT_SECRET", "secret")
    for place, value in enumerate(_VALUES[name]):
        further = zip(_SOURCES[place:], _VALUES[name][place:], strict=False)
        # With an issuer of their own, nobody asks the service for one, nor for the client's id there.
        values = {source: {"client_id": "c"} | {name: text} for source, text in further}
        form, entry = _sign_in(values, client_credentials=as_machine)
        assert (form[name], entry[name]) == (value, value)
        assert (entry["grant"], entry["access_token"]) == ("client_credentials" if as_machine else "user", "t")
        assert form.get("client_secret") == entry.get("client_secret") == ("secret" if as_machine else None)


@pytest.mark.parametrize("as_machine", [True, False])
def test_a_machine_asks_for_no_scope_by_default(as_machine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has neither a name nor a refresh token to ask for."""
    monkeypatch.setenv("STORAGE_API_CLIENT_SECRET", "secret")
    scope = _sign_in({}, client_credentials=as_machine)[0]["scope"]
    assert ("offline_access" in scope, scope == "") == (not as_machine, as_machine)


@pytest.mark.parametrize("browser", [True, False])
def test_a_browser_is_used_where_it_is_wanted(browser: bool) -> None:
    with patch.object(login, "_with_browser", Mock(return_value={"access_token": "b"})):
        form, entry = _sign_in({}, browser=browser)
    assert (form == {}, entry["access_token"]) == (browser, "b" if browser else "t")
