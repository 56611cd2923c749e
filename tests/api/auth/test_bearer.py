"""Bearer tokens: valid ones are accepted, everything else is refused, and no request hangs without the provider."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from api.auth import AuthSettings
from api.auth.tokens import header_of
from tests.api.auth.auth_app import SECRET_KEY, bearer, build, roles_of, with_provider
from tests.api.auth.machine_tokens import assert_refused, machine_token
from tests.identity_provider.fixtures import CLIENT_ID
from worker.config.settings import load

ADMINS = ["it db, admins"]
#: Of signature algorithms that are not RSA's: the kind of key, and its curve.
_CURVES: dict[str, Any] = {
    "ES256": (ECKey, "P-256"), "ES384": (ECKey, "P-384"), "ES512": (ECKey, "P-521"),
    "EdDSA": (OKPKey, "Ed25519"), "Ed25519": (OKPKey, "Ed25519"),
}  # fmt: skip


def key_for(algorithm: str) -> Any:
    kind, size = _CURVES.get(algorithm, (RSAKey, 2048))
    return _generated(kind, size)


@cache
def _generated(kind: Any, size: str | int) -> Any:
    return kind.generate_key(size, {"kid": "published"})


@pytest.fixture
def client(redis_client, provider):
    return with_provider(redis_client, provider).test_client()


class TestGoodTokens:
    def test_a_token_without_the_role_gets_insufficient_scope(self, client, provider):
        token = provider.token(preferred_username="adam", groups=ADMINS)

        answer = client.get("/v4/needs/UBER_ADMIN", headers=bearer(token))

        assert (answer.status_code, answer.get_json()["code"]) == (403, "missing-role")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="storage-api", error="insufficient_scope"'
        assert "WWW-Authenticate" not in client.get("/v4/needs/ADMIN", headers=bearer(token)).headers

    def test_groups_become_roles(self, client, provider):
        token = provider.token(preferred_username="adam", groups=ADMINS)

        who = client.get("/whoami", headers=bearer(token)).get_json()

        assert who == {"name": "adam", "roles": ["ADMIN", "USER"], "auth_method": "bearer"}

    def test_a_machine_gets_roles_by_its_groups(self, client, provider):
        who = client.get("/whoami", headers=bearer(machine_token(provider))).get_json()

        assert who == {"name": "machine", "roles": ["ADMIN", "USER"], "auth_method": "bearer"}

    def test_a_machine_gets_roles_by_its_id(self, client, provider):
        assert roles_of(client, headers=bearer(provider.token(sub="robot"))) == {"USER", "UBER_ADMIN"}

    def test_a_group_named_like_a_subject_gives_no_role(self, client, provider):
        assert roles_of(client, headers=bearer(provider.token(sub="x", groups=["sub:robot"]))) == {"USER"}

    def test_several_audiences(self, client, provider):
        assert roles_of(client, headers=bearer(provider.token(aud=["other", CLIENT_ID]))) == {"USER"}

    def test_the_provider_changes_its_key(self, client, provider):
        assert roles_of(client, headers=bearer(provider.token())) == {"USER"}
        provider.rotate_key()
        assert roles_of(client, headers=bearer(provider.token())) == {"USER"}
        provider.rotate_key()
        assert roles_of(client, headers=bearer(provider.token(header={"kid": None}))) == {"USER"}

    def test_signing_keys_are_fetched_once(self, client, provider):
        for _ in range(5):
            roles_of(client, headers=bearer(provider.token()))

        assert provider.request_counts["/jwks"] == 1

    def test_a_token_with_many_groups_may_have_16_kibibytes(self, client, provider):
        groups = [f"group-{number:016}" for number in range(480)]
        token, longer = (provider.token(groups=[*groups[:count], *ADMINS]) for count in (470, 480))
        assert 16_000 < len(token) < 16_384 < len(longer) < 17_000
        assert "ADMIN" in roles_of(client, headers=bearer(token))
        assert_refused(client.get("/whoami", headers=bearer(longer)))

    def test_a_bearer_request_needs_no_origin_header(self, client, provider):
        token = bearer(provider.token(groups=ADMINS))
        answer = client.post("/v4/needs/ADMIN", headers=token | {"Origin": "https://elsewhere.example.org"})
        assert answer.status_code == 200

    def test_small_clock_differences_are_accepted(self, client, provider):
        token = provider.token(exp=int(time.time()) - 30, nbf=int(time.time()) + 30)

        assert roles_of(client, headers=bearer(token)) == {"USER"}

    @pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
    @pytest.mark.parametrize("algorithm", load(AuthSettings, secret_key=SECRET_KEY).oauth_algorithms)
    def test_every_default_algorithm_is_supported(self, client, provider, algorithm):
        key = key_for(algorithm)
        provider.keys = [key, *provider.keys]
        token = provider.token(key=key, header={"alg": algorithm, "kid": "published"})
        assert roles_of(client, headers=bearer(token)) == {"USER"}

    @pytest.mark.parametrize("kind", ["at+jwt", "application/at+jwt", "JWT", None])
    def test_every_spelling_of_the_token_type_is_accepted(self, client, provider, kind):
        assert roles_of(client, headers=bearer(provider.token(header={"typ": kind}))) == {"USER"}

    @pytest.mark.parametrize("kind", ["at+jwt", "application/at+jwt", "JWT"])
    def test_a_token_with_an_explicit_type_may_have_claims_of_other_kinds(self, client, provider, kind):
        """Such as Keycloak's, which have the nonce of the sign-in."""
        token = provider.token(header={"typ": kind}, nonce="n", typ="Bearer" if kind == "JWT" else None)
        assert roles_of(client, headers=bearer(token)) == {"USER"}

    def test_bearer_settings_take_effect(self, redis_client, provider):
        """Algorithms, the claim of the name, how far clocks may differ, and keys without a discovery document."""
        issuer = provider.issuer
        named = with_provider(redis_client, provider, oauth_name_claim="nick", oauth_leeway=0).test_client()
        assert named.get("/whoami", headers=bearer(provider.token(nick="ny"))).get_json()["name"] == "ny"
        assert_refused(named.get("/whoami", headers=bearer(provider.token(exp=int(time.time()) - 10))))
        picky = with_provider(redis_client, provider, oauth_algorithms="ES256").test_client()
        assert_refused(picky.get("/whoami", headers=bearer(provider.token())))
        bare = {"oauth_jwks_url": f"{issuer}/jwks", "oauth_issuer": issuer, "oauth_token_url": f"{issuer}/token"}
        without = build(redis_client, oauth_client_id=CLIENT_ID, **bare).test_client()
        assert without.get("/whoami", headers=bearer(provider.token())).get_json()["auth_method"] == "bearer"
        assert_refused(without.get("/whoami", headers=bearer(provider.token(iss="https://evil.example.org"))))


def part(content):
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def unsigned(provider):
    return f"{part({'alg': 'none'})}.{provider.token(groups=ADMINS).split('.')[1]}."


def signed_with_the_public_key(provider):
    """Algorithm confusion: the public key taken for a shared secret."""
    head = part({"alg": "HS256", "kid": provider.key.kid})
    body = provider.token(groups=ADMINS).split(".")[1]
    digest = hmac.digest(provider.key.as_pem(private=False), f"{head}.{body}".encode(), "sha256")
    return f"{head}.{body}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def stripped(provider):
    return provider.token(groups=ADMINS).rsplit(".", 1)[0] + "."


def changed(provider):
    head, _, signature = provider.token().split(".")
    claims = {"iss": provider.issuer, "aud": CLIENT_ID, "sub": "x", "groups": ADMINS, "exp": int(time.time()) + 99}
    return f"{head}.{part(claims)}.{signature}"


def brings_its_own_key(provider):
    private_key = RSAKey.generate_key(2048)
    header = {"alg": "RS256", "kid": provider.key.kid, "jwk": private_key.as_dict(private=False)}
    claims = {"iss": provider.issuer, "aud": CLIENT_ID, "sub": "x", "exp": int(time.time()) + 99, "groups": ADMINS}
    return jwt.encode(header, claims, private_key)


def nested(provider):
    """Signed by the provider, and more than a parser can take."""
    claims = b'{"a":' + b"[" * 5000
    return jws.serialize_compact({"alg": "RS256", "kid": provider.key.kid}, claims, provider.key)


def of_keycloak(kind, provider):
    """Not an access token, but another kind that Keycloak signs alike."""
    return provider.token(header={"typ": "JWT"}, typ=kind, groups=ADMINS)


BAD: dict[str, Callable[[Any], str]] = {
    "expired": lambda p: p.token(exp=int(time.time()) - 3600),
    "not in force yet": lambda p: p.token(nbf=int(time.time()) + 3600),
    "for ever": lambda p: p.token(exp=None),
    "foreign issuer": lambda p: p.token(iss="https://evil.example.org"),
    "no issuer": lambda p: p.token(iss=None),
    "another service's": lambda p: p.token(aud="another-service"),
    "nobody's": lambda p: p.token(aud=None),
    "names nobody": lambda p: p.token(sub=None),
    "of a strange key": lambda p: p.token(key=RSAKey.generate_key(2048), header={"kid": p.key.kid}),
    "of an unknown key": lambda p: p.token(key=RSAKey.generate_key(2048), header={"kid": "unknown"}),
    "of another kind of key": lambda p: p.token(key=ECKey.generate_key("P-256"), header={"alg": "ES256"}),
    "kid that is a path": lambda p: p.token(key=OctKey.import_key("x" * 32), header={"alg": "HS256", "kid": "../../x"}),
    "an ID token": lambda p: p.token(header={"typ": "JWT"}, nonce="n", at_hash="x"),
    # Of an ID token, by code too, and of a logout token, whose header does not say what they are.
    **{
        f"with {claim} alone": partial(lambda claim, p: p.token(header={"typ": "JWT"}, **{claim: "x"}), claim)
        for claim in ("nonce", "at_hash", "c_hash", "events")
    },
    **{f"Keycloak's {kind} token": partial(of_keycloak, kind) for kind in ("ID", "Refresh", "Offline", "Logout")},
    "bound to a key": lambda p: p.token(cnf={"jkt": "x"}, groups=ADMINS),
    "nested too deeply": nested,
    "a name that is another line": lambda p: p.token(preferred_username="a\r\nb", sub="\x1b[31madam"),
    # RFC 8725, section 3.11: each kind of JWT has a type of its own.
    **{
        f"of type {kind}": partial(lambda kind, p: p.token(header={"typ": kind}), kind)
        for kind in ("logout+jwt", "secevent+jwt", "dpop+jwt", "token-introspection+jwt")
    },
    "unsigned": unsigned,
    "signed with the public key": signed_with_the_public_key,
    "without its signature": stripped,
    "changed": changed,
    "brings its own key": brings_its_own_key,
    "garbage": lambda p: "garbage",
    "dots": lambda p: "a.b.c",
    "empty": lambda p: "",
    "huge": lambda p: "a" * 20_000,
    "not ASCII": lambda p: "é.è.ê",
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_tokens(client, provider, kind):
    sent = bearer(BAD[kind](provider))

    assert_refused(client.get("/conf/me/roles", headers=sent))
    assert_refused(client.post("/v4/needs/ADMIN", headers=sent))


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"exp": 1}, "it has expired"),
        ({"nbf": 1 << 40}, "it is not in force yet"),
        ({"iss": "https://evil.example.org"}, "it is of another issuer"),
        ({"aud": "another-service"}, "it is meant for another service"),
        ({"exp": None}, "it lacks one of the claims iss, aud and exp"),
        ({"exp": "soon"}, "one of its claims is no good"),
    ],
)
def test_the_reason_for_refusing_a_token_is_reported(client, provider, claims, words):
    detail = client.get("/whoami", headers=bearer(provider.token(**claims))).get_json()["detail"]
    assert detail == f"The bearer token is no good: {words}."


def test_a_malformed_published_key_verifies_no_token(client, provider, monkeypatch):
    keys = {"keys": [{"kty": "RSA", "kid": provider.key.kid, "n": "?"}]}
    monkeypatch.setattr("api.auth.tokens.request_json", lambda *_: keys)
    assert_refused(client.get("/whoami", headers=bearer(provider.token())))


@pytest.mark.parametrize("kid", ["published", None])
def test_malformed_published_keys_do_not_affect_other_keys(client, provider, monkeypatch, kid):
    good = provider.key.as_dict(private=False) | {"kid": "published"}
    odd = [None, "text", {"kty": "RSA", "n": "?"}, {"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"}, {"kty": "new"}]
    monkeypatch.setattr("api.auth.tokens.request_json", lambda *_: {"keys": [*odd, good]})
    assert client.get("/whoami", headers=bearer(provider.token(header={"kid": kid}))).status_code == 200


@pytest.mark.parametrize(("use", "status"), [("sig", 200), ("enc", 401)])
def test_a_published_key_for_another_use_verifies_no_token(client, provider, use, status):
    key = RSAKey.generate_key(2048)
    published = RSAKey.import_key(key.as_dict(private=False) | {"kid": "published", "use": use})
    provider.keys = [published, *provider.keys]

    token = provider.token(key=key, header={"kid": "published"})

    assert client.get("/whoami", headers=bearer(token)).status_code == status


@pytest.mark.parametrize("header", ["Digest x=y", "Bearer", "Nonsense", "Basic !!!", "", "Negotiate abc"])
def test_other_authorization_is_401(client, header):
    assert client.get("/conf/me/roles", headers={"Authorization": header}).status_code == 401


def test_a_bad_token_does_not_fall_back_on_a_session(redis_client, provider):
    client = with_provider(redis_client, provider, debug=True).test_client()
    client.get("/login")
    assert_refused(client.post("/v4/needs/ADMIN", headers=bearer("x")))


def test_without_a_provider_every_token_is_refused(redis_client, provider):
    assert_refused(build(redis_client).test_client().get("/conf/me/roles", headers=bearer(provider.token())))


@pytest.mark.parametrize("header", [{}, {"alg": 5}, [], "RS256", None])
def test_a_header_without_signature_algorithm_is_no_jwt(header):
    # Nor is what is encrypted, which the provider alone can read.
    for token in (f"{part(header)}.claims.signature", f"{part({'alg': 'dir'})}.key.iv.text.tag"):
        assert header_of(token) is None


def test_unknown_key_ids_cause_few_requests_to_the_provider(client, provider):
    for number in range(30):
        token = provider.token(header={"kid": f"made up {number}"})
        assert_refused(client.get("/conf/me/roles", headers=bearer(token)))
    assert provider.request_counts["/jwks"] <= 6
