"""Bearer tokens of a machine."""

from __future__ import annotations

import requests

from tests.identity_provider.fixtures import CLIENT_ID


def machine_token(provider):
    provider.audience = CLIENT_ID
    form = {"grant_type": "client_credentials"}
    answer = requests.post(f"{provider.issuer}/token", data=form, auth=("machine", "machine secret"), timeout=20)
    return answer.json()["access_token"]


def assert_refused(answer):
    assert answer.status_code == 401, answer.text
    assert answer.get_json()["code"] == "unauthenticated"
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="storage-api", error="invalid_token"'
