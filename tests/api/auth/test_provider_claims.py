"""What the provider may say of whom: issuers, keys, names and groups."""

from __future__ import annotations

import base64
import json
import time
from typing import Any
from unittest.mock import Mock

import pytest
from joserfc import jws, jwt
from joserfc.jwk import OctKey
from joserfc.jws import JWSRegistry
from joserfc.registry import HeaderParameter

from api.auth import AuthSettings
from api.auth.provider import IdentityProvider
from api.auth.provider_http import ProviderRefused, ProviderUnavailable
from api.auth.token_claims import identity_in
from api.auth.tokens import InvalidToken, TokenVerifier
from tests.api.auth.auth_app import SECRET_KEY, bearer, callback_of, sign_in, with_provider
from tests.identity_provider.fixtures import CLIENT_ID
from worker.config.settings import load
from worker.config.user_names import name_in

#: Makes headers with other parameters than the library's own.
_ANY_HEADER = JWSRegistry({"x": HeaderParameter("critical", "int")}, strict_check_header=False)
DISCOVERY = "https://sso.example.org/.well-known/openid-configuration"


@pytest.mark.parametrize(
    ("path", "issuer", "is_believed"),
    [
        ("/.well-known/openid-configuration", "https://sso.example.org", True),
        ("/.well-known/openid-configuration", "https://sso.example.org/", True),
        ("/.well-known/openid-configuration", "https://evil.example.org", False),
        ("/.well-known/openid-configuration", None, False),
        ("/metadata.json", "https://login.example.org", True),
        ("/metadata.json", None, True),
    ],
)
def test_a_discovery_document_must_be_of_the_issuer_of_its_url(monkeypatch, path, issuer, is_believed):
    """Tokens of another one would be good otherwise."""
    monkeypatch.setattr("api.auth.provider.request_json", lambda *_args, **_more: {"issuer": issuer})
    settings = {"oauth_client_id": CLIENT_ID, "oauth_discovery_url": f"https://sso.example.org{path}"}
    provider = IdentityProvider(load(AuthSettings, secret_key=SECRET_KEY, **settings))
    if is_believed:
        assert provider.issuer() == (issuer or "")
        with pytest.raises(ProviderUnavailable):  # It says nothing of where one signs in.
            provider.authorize_url()
    else:
        with pytest.raises(ProviderUnavailable):
            provider.issuer()


def test_an_issuer_that_is_configured_is_the_one_of_tokens(monkeypatch):
    monkeypatch.setattr("api.auth.provider.request_json", lambda *_args, **_more: {"issuer": "https://sso.example.org"})
    settings = {
        "oauth_client_id": CLIENT_ID,
        "oauth_discovery_url": "https://sso.example.org/metadata.json",
        "oauth_issuer": "https://tenant.example.org",
    }
    assert (
        IdentityProvider(load(AuthSettings, secret_key=SECRET_KEY, **settings)).issuer() == "https://tenant.example.org"
    )


def test_a_provider_may_have_no_user_info(monkeypatch):
    monkeypatch.setattr("api.auth.provider.request_json", lambda *_args, **_more: {"issuer": "https://sso.example.org"})
    settings = {"oauth_client_id": CLIENT_ID, "oauth_discovery_url": DISCOVERY}
    provider = IdentityProvider(load(AuthSettings, secret_key=SECRET_KEY, **settings))
    monkeypatch.setattr(provider, "_ask_as", Mock(side_effect=ProviderUnavailable))
    assert provider.ask_userinfo("token") == {}


def test_keys_are_fetched_from_where_that_is_configured(redis_client, provider):
    client = with_provider(redis_client, provider, oauth_jwks_url="http://127.0.0.1:1/keys").test_client()
    assert client.get("/whoami", headers=bearer(provider.token())).status_code == 503


def test_a_published_symmetric_key_verifies_no_token(monkeypatch):
    """Whoever has read it could make tokens, where its algorithm were taken."""
    key = OctKey.import_key("x" * 32, {"kid": "shared"})
    monkeypatch.setattr("api.auth.tokens.request_json", lambda *_: {"keys": [key.as_dict(private=True)]})
    verifier = TokenVerifier(jwks_url=str, issuer=lambda: "us", algorithms=("HS256",), leeway_s=0)
    claims = {"iss": "us", "aud": CLIENT_ID, "exp": int(time.time()) + 99}
    with pytest.raises(InvalidToken, match="no key and algorithm"):
        verifier.claims(jwt.encode({"alg": "HS256", "kid": "shared"}, claims, key), audience=CLIENT_ID)


@pytest.mark.parametrize(("trouble", "status"), [(ProviderUnavailable, 503), (ProviderRefused, 302)])
def test_refused_user_info_is_empty_and_unavailable_user_info_is_an_error(
    redis_client, provider, monkeypatch, trouble, status
):
    """Who signs in while it does not come would have no groups."""
    provider.hidden_claims = {"groups"}
    client = with_provider(redis_client, provider).test_client()
    monkeypatch.setattr(IdentityProvider, "ask_userinfo", Mock(side_effect=trouble))
    assert client.get(callback_of(client, "adam")).status_code == status


@pytest.mark.parametrize("place", range(8))
def test_the_user_name_is_the_first_usable_claim(place):
    claims = ("nick", "username", "upn", "cern_upn", "sub", "client_id", "azp", "cid")
    # White space around a name is no part of it.
    answer = {name: f"\tof {name}\n" for name in claims[place:]} | dict.fromkeys(claims[:place], "a\nb")
    assert name_in(answer, "nick") == f"of {claims[place]}"


@pytest.mark.parametrize("nick", [" \n", 5, None])
def test_an_empty_name_claim_is_ignored(nick):
    assert name_in({"nick": nick, "username": "adam"}, "nick") == "adam"


@pytest.mark.parametrize("place", range(4))
def test_the_client_id_of_a_machine_is_the_first_usable_claim(place):
    claims = ("sub", "client_id", "azp", "cid")
    answer = {name: f"of {name}" for name in claims[place:]}
    assert identity_in(answer, name_claim="nick", groups=()).subject == f"of {claims[place]}"


@pytest.mark.parametrize("claim", ["nick", "username", "upn", "cern_upn"])
def test_a_user_without_a_sub_is_not_the_client_that_the_token_was_issued_to(claim):
    """All users of that client would have the same jobs, and its roles."""
    answer = {claim: "adam", "client_id": "robot", "azp": "robot", "cid": "robot"}
    identity = identity_in(answer, name_claim="nick", groups=())
    assert (identity.subject, identity.id) == ("", "name adam")


@pytest.mark.parametrize("answer", [{"groups": ["a"]}, {"roles": ["a"]}, {"groups": ["a"], "roles": ["b"]}, {}])
def test_the_groups_url_may_name_groups_by_the_claim_too(monkeypatch, answer):
    monkeypatch.setattr("api.auth.provider.request_json", lambda *_args, **_more: answer)
    settings = {"oauth_groups_url": "https://sso.example.org/groups", "oauth_groups_claim": "roles"}
    provider = IdentityProvider(load(AuthSettings, secret_key=SECRET_KEY, oauth_client_id=CLIENT_ID, **settings))
    assert provider.groups({"roles": ["c"]}, "token") == (("a",) if answer else ())


@pytest.mark.parametrize(
    ("stated", "issuer"), [("https://a.example.org", "https://a.example.org"), (None, "https://b"), (5, "https://b")]
)
def test_the_issuer_claim_is_part_of_the_user_id(stated, issuer):
    """Where none is configured, it keeps apart the users of several."""
    claims = {"sub": "1", "name": "adam"} | ({} if stated is None else {"iss": stated})
    assert identity_in(claims, name_claim="name", groups=(), issuer="https://b").id == f"{issuer} 1"


@pytest.mark.parametrize(
    ("secret", "discovery", "taken", "method", "sent"),
    [
        (
            "s",
            DISCOVERY,
            ["private_key_jwt", "client_secret_post", "client_secret_basic"],
            "client_secret_basic",
            ("basic", False),
        ),
        ("s", DISCOVERY, ["client_secret_post"], "client_secret_post", (None, True)),
        ("s", DISCOVERY, None, "client_secret_basic", ("basic", False)),
        ("", DISCOVERY, ["client_secret_basic", "none"], "none", (None, False)),
        # As the predecessor does.
        ("s", "", None, "client_secret_post", (None, True)),
    ],
)
def test_the_client_authenticates_as_the_provider_supports(monkeypatch, secret, discovery, taken, method, sent):
    requested: list[dict[str, Any]] = []

    def answer(http_method: str, url: str, **options: Any) -> dict[str, Any]:
        requested.append(options | {"request": (http_method, url)})
        return {"issuer": "https://sso.example.org", "token_endpoint": url} | (
            {"token_endpoint_auth_methods_supported": taken} if taken else {}
        )

    monkeypatch.setattr("api.auth.provider.request_json", answer)
    settings = {"oauth_client_id": CLIENT_ID, "oauth_secret_key": secret, "oauth_discovery_url": discovery}
    provider = IdentityProvider(load(AuthSettings, secret_key=SECRET_KEY, **settings))
    assert provider.client_auth_method() == method
    provider.refresh("of before")
    assert requested[-1]["request"] == ("POST", provider.token_url())
    form = requested[-1]["data"]
    assert (form["grant_type"], form["refresh_token"]) == ("refresh_token", "of before")
    assert ("basic" if requested[-1].get("auth") == (CLIENT_ID, secret) else None, "client_secret" in form) == sent
    assert form.get("client_id") == (None if method == "client_secret_basic" else CLIENT_ID)


def test_an_id_token_that_another_client_was_given(redis_client, provider, monkeypatch):
    client = with_provider(redis_client, provider).test_client()
    claims = TokenVerifier.claims
    for azp, status in (("another", 400), (CLIENT_ID, 302)):
        link = callback_of(client, "adam")
        with monkeypatch.context() as patched:
            patched.setattr(
                TokenVerifier, "claims", lambda *args, azp=azp, **more: claims(*args, **more) | {"azp": azp}
            )
            assert client.get(link).status_code == status


def test_sign_in_and_sign_out_responses_are_not_stored(redis_client, provider):
    client = with_provider(redis_client, provider).test_client()
    answers = [client.get("/login"), sign_in(client, "adam"), client.get("/logout")]
    assert [answer.headers.get("Cache-Control") for answer in answers] == ["no-store"] * 3


def signed(provider: Any, **claims: Any) -> str:
    """An access token whose claims are written in ASCII, as many providers do: a lone surrogate is possible then."""
    head, _, _ = provider.token().partition(".")
    now = int(time.time())
    all_claims = {"iss": provider.issuer, "aud": CLIENT_ID, "sub": "1", "iat": now, "exp": now + 99} | claims
    header = json.loads(base64.urlsafe_b64decode(head + "=="))
    return jws.serialize_compact(header, json.dumps(all_claims), provider.key, algorithms=["RS256"])


@pytest.mark.parametrize("subject", ["\ud800", "a\nb", "\x00"])
def test_a_subject_that_cannot_be_encoded_is_refused(redis_client, provider, subject):
    client = with_provider(redis_client, provider).test_client()
    response = client.get("/whoami", headers=bearer(signed(provider, sub=subject, preferred_username="ann")))
    assert response.status_code == 401, response.data


def test_a_group_that_cannot_be_encoded_is_ignored(redis_client, provider):
    client = with_provider(redis_client, provider).test_client()
    response = client.get("/whoami", headers=bearer(signed(provider, groups=["\ud800", "admins"])))
    assert response.status_code == 200, response.data


@pytest.mark.parametrize(
    ("header", "is_good"),
    [({"pi.atm": "1", "nonce": "n"}, True), ({"x5c": ["A" * 2000]}, True), ({"crit": ["x"], "x": 1}, False)],
)
def test_tokens_with_unknown_header_parameters_are_accepted(redis_client, provider, header, is_good):
    """What is not understood is ignored unless it is critical (RFC 7515, 4)."""
    client = with_provider(redis_client, provider).test_client()
    claims = {"iss": provider.issuer, "aud": CLIENT_ID, "sub": "x", "exp": int(time.time()) + 99}
    head = {"alg": "RS256", "kid": provider.key.kid} | header
    token = jws.serialize_compact(head, json.dumps(claims), provider.key, registry=_ANY_HEADER)
    assert (client.get("/whoami", headers=bearer(token)).status_code == 200) is is_good
