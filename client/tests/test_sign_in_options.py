"""Which values signing in uses: of its options, else of the profile, else of the service; and how it ends."""

from __future__ import annotations

import threading
from typing import Any
from unittest.mock import Mock, call, patch

import click
import pytest

from flows import answer
from storage_api_client.cli import login
from storage_api_client.cli.exit_status import ExitStatus
from storage_api_client.cli.state import State, Stop
from storage_api_client.configuration.files import Profile
from storage_api_client.protocol.messages import Ended, Flow, Pause, Request, Response, advance
from storage_api_client.sign_in import loopback
from storage_api_client.sign_in.oauth import OAuthError, Provider

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

    def __init__(self, announced: dict[str, str], refusal: str | None = None) -> None:
        self.refusal = refusal
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
        if self.refusal:
            return answer(400, {"error": self.refusal})
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
    """The first form that the provider receives, with its address as ``issuer``; and what is stored."""
    driver = _Provider(dict(values.get("service", {})))
    profile = Profile("p", ca_file="/ca.pem", **values.get("profile", {}))  # type: ignore[arg-type]
    state = State(_found=Mock(url=_SERVICE, profile=profile, ca_file="/ca.pem"))
    options: dict[str, Any] = dict.fromkeys(_VALUES) | {"browser": False, "basic": None, "client_credentials": False}
    with patch.object(login, "Driver", Mock(return_value=driver)) as made, patch.object(login, "_keep") as stored:
        login.sign_in(state, **options | values.get("option", {}) | more)
    made.assert_called_once_with(_SERVICE, "/ca.pem")
    first = next((request for request in driver.sent if request.form), None)
    form = {"issuer": first.path.rpartition("/")[0], **(first.form or {})} if first else {}
    return form, stored.call_args.args[1]


@pytest.mark.parametrize("as_machine", [True, False])
@pytest.mark.parametrize("name", _VALUES)
def test_options_precede_profile_and_service(name: str, as_machine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_API_CLIENT_SECRET", "secret")
    for place, value in enumerate(_VALUES[name]):
        further = zip(_SOURCES[place:], _VALUES[name][place:], strict=False)
        # With an issuer as option, the service is not asked for one, nor for the client's id.
        values = {source: {"client_id": "c"} | {name: text} for source, text in further}
        form, entry = _sign_in(values, client_credentials=as_machine)
        assert (form[name], entry[name]) == (value, value)
        assert (entry["grant"], entry["access_token"]) == ("client_credentials" if as_machine else "user", "t")
        assert form.get("client_secret") == entry.get("client_secret") == ("secret" if as_machine else None)


@pytest.mark.parametrize("as_machine", [True, False])
def test_a_machine_asks_for_no_scope_by_default(as_machine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scopes for a name and for refresh tokens do not apply to it."""
    monkeypatch.setenv("STORAGE_API_CLIENT_SECRET", "secret")
    scope = _sign_in({}, client_credentials=as_machine)[0]["scope"]
    assert ("offline_access" in scope, scope == "") == (not as_machine, as_machine)


@pytest.mark.parametrize("browser", [True, False])
def test_a_browser_is_used_on_request(browser: bool) -> None:
    with patch.object(login, "_with_browser", Mock(return_value={"access_token": "b"})):
        form, entry = _sign_in({}, browser=browser)
    assert (form == {}, entry["access_token"]) == (browser, "b" if browser else "t")


def test_a_password_needs_no_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_API_PASSWORD", "secret")
    with patch.object(_Provider, "run", Mock()) as sent:
        assert _sign_in({}, basic="ann") == ({}, {"kind": "basic", "user": "ann", "password": "secret"})
    sent.assert_not_called()


def test_a_refused_sign_in_has_its_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    state, driver = State(_found=Mock(url=_SERVICE, profile=Profile("p"))), _Provider({}, refusal="access_denied")
    options: dict[str, Any] = dict.fromkeys(_VALUES) | {"browser": False, "basic": None, "client_credentials": False}
    with patch.object(login, "Driver", Mock(return_value=driver)), pytest.raises(Stop) as end:
        login.sign_in(state, **options)
    assert end.value.status is ExitStatus.NOT_AUTHORISED
    assert capsys.readouterr().err == "storage-api: The provider refuses: access_denied.\n"


@pytest.mark.parametrize(("variable", "is_terminal"), [("s", True), ("", True), ("", False)])
def test_a_secret_is_read_from_environment_or_prompt(
    variable: str, is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", variable)
    monkeypatch.setattr("sys.stdin", Mock(isatty=Mock(return_value=is_terminal)))
    with patch.object(click, "prompt", Mock(return_value="typed")) as prompt:
        if not (variable or is_terminal):
            with pytest.raises(click.UsageError, match="set SECRET"):
                login._secret("SECRET", "Password")
        else:
            assert login._secret("SECRET", "Password") == (variable or "typed")
    # Neither on the screen nor among the results.
    calls = [call("Password", hide_input=True, err=True)] if is_terminal and not variable else []
    assert prompt.call_args_list == calls


def test_a_browser_without_a_callback_times_out(capsys: pytest.CaptureFixture[str]) -> None:
    """One that runs in the foreground does not keep the answer from being waited for: it has a thread of its own."""
    threads: list[threading.Thread] = []
    is_open = threading.Event()

    def open_browser(_url: str) -> None:
        threads.append(threading.current_thread())
        is_open.set()

    with (
        patch("webbrowser.open", open_browser),
        patch.object(loopback.LoopbackServer, "wait", lambda _server: None if is_open.wait(20) else {}),
        pytest.raises(OAuthError, match="in time"),
    ):
        provider = Provider({"authorization_endpoint": "https://login.example.org/authorize"}, "c")
        login._with_browser(State(), Mock(), provider)
    assert [thread is not threading.current_thread() and thread.daemon for thread in threads] == [True]
    assert "https://login.example.org/authorize?" in capsys.readouterr().err


@pytest.mark.parametrize("complete", [None, "https://v?code=u"])
def test_the_verification_address_is_printed(complete: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    login._show_device(State(), "https://v", "u-1", complete)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1 if "Open" in line else 2] for line in lines] == ["https://v", *filter(None, [complete])]
    assert lines[0].endswith(" u-1")


_TOKEN = "x.eyJzdWIiOiAiYm9iIn0.y"


@pytest.mark.parametrize(
    ("token", "entry", "signed_in", "user"),
    [
        ("", None, "no", ""),
        ("", {"kind": "basic", "user": "ann"}, "basic", "ann"),
        ("", {"kind": "oauth", "access_token": _TOKEN}, "oauth", "bob"),
        ("", {"kind": "session", "cookie": "c=1"}, "session", "developer"),
        (_TOKEN, {"kind": "basic", "user": "ann"}, "STORAGE_API_TOKEN", "bob"),
        ("opaque", None, "STORAGE_API_TOKEN", ""),
    ],
)
def test_the_kind_of_sign_in_is_reported(
    token: str, entry: dict[str, str] | None, signed_in: str, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_API_TOKEN", token)
    assert login.how_signed_in(Mock(entry=entry)) == {"signed_in": signed_in, "user": user}
