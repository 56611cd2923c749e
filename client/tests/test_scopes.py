"""Which scopes are asked for by signing in."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock, patch

import pytest

from flows import answer, run
from storage_api_client.cli import login
from storage_api_client.cli.state import State
from storage_api_client.configuration.files import Profile

_ISSUER = "http://127.0.0.1:9"
_METADATA = {
    "issuer": _ISSUER, "token_endpoint": f"{_ISSUER}/token", "device_authorization_endpoint": f"{_ISSUER}/device",
}  # fmt: skip
_DEVICE = {"device_code": "d", "user_code": "u", "verification_uri": "v", "interval": 0}
_TOKEN = {"access_token": "t"}


def _asked_for(profile: Profile, *, as_machine: bool, scope: str | None) -> str:
    """The scopes in the first request to the provider after its metadata."""
    forms: list[Any] = []
    replies = iter([(_METADATA,), (_TOKEN,) if as_machine else (_DEVICE, _TOKEN)])

    def play(flow: Any) -> Any:
        value, sent, _ = run(flow, *(answer(200, each) for each in next(replies)))
        forms.extend(request.form for request in sent if request.form)
        return value

    state = State(_found=Mock(url="http://127.0.0.1:9", profile=profile))
    options: dict[str, Any] = {"issuer": _ISSUER, "client_id": "c", "audience": None, "browser": False, "basic": None}
    with patch.object(login, "Driver", Mock(return_value=Mock(run=play))), patch.object(login, "_keep"):
        login.sign_in(state, scope=scope, client_credentials=as_machine, **options)
    return str(forms[0]["scope"])


@pytest.mark.parametrize("as_machine", [True, False])
def test_the_nearest_counts(as_machine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_API_CLIENT_SECRET", "s")
    assert _asked_for(Profile("p", scope="profile's"), as_machine=as_machine, scope="typed") == "typed"
    assert _asked_for(Profile("p", scope="profile's"), as_machine=as_machine, scope=None) == "profile's"
    # A machine has neither a name nor a refresh token to ask for.
    default = _asked_for(Profile("p"), as_machine=as_machine, scope=None)
    assert ("offline_access" in default, default == "") == (not as_machine, as_machine)
