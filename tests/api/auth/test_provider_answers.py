"""How long answers of the provider are believed, how often it is source, and what it may say of whom."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event, Timer
from typing import Any
from unittest.mock import Mock

import pytest

from api.auth import AuthSettings
from api.auth.bearer import BearerAuthenticator, TokenCache
from api.auth.cached_document import CachedDocument
from api.auth.claims import identity_in, name_in
from api.auth.provider import IdentityProvider
from api.auth.provider_http import ProviderRefused, ProviderUnavailable
from api.auth.tokens import InvalidToken, TokenVerifier
from tests.api.auth.auth_app import SECRET_KEY, bearer, build, callback_of, roles_of, sign_in, with_provider
from tests.identity_provider.fixtures import CLIENT_ID, CLIENT_SECRET
from worker.config.settings import load

DISCOVERY = "https://sso.example.org/.well-known/openid-configuration"
ADMINS = ["it db, admins"]
HOUR_S = 3600.0


class Provider:
    """Answers with the number of the question, unless it is away; the clock is a test's."""

    def __init__(self) -> None:
        self.now_s, self.count, self.is_away = 1000.0, 0, False

    def ask(self, *_: object) -> dict[str, Any]:
        self.count += 1
        if self.is_away:
            raise ProviderUnavailable("away")
        return {"number": self.count}

    def clock(self) -> float:
        return self.now_s


@pytest.fixture
def source() -> Provider:
    return Provider()


class TestDocument:
    @pytest.fixture
    def document(self, source: Provider) -> CachedDocument:
        return CachedDocument(source.ask, clock=source.clock)

    def test_is_fetched_anew_after_an_hour(self, source, document):
        numbers = []
        for passed_s in (0, HOUR_S, 1, HOUR_S):
            source.now_s += passed_s
            numbers.append(document.get()["number"])
        assert numbers == [1, 1, 2, 2]

    def test_is_used_for_a_day_while_the_provider_is_away(self, source, document):
        document.get()
        source.is_away = True
        source.now_s += 24 * HOUR_S
        assert document.get() == {"number": 1}
        source.now_s += 1
        with pytest.raises(ProviderUnavailable):
            document.get()
        source.is_away = False
        source.now_s += 2
        assert document.get()["number"] > 1

    def test_that_did_not_come_is_not_asked_for_at_once_again(self, source, document):
        source.is_away = True
        for passed_s, count in ((0, 1), (1, 1), (1, 2)):
            source.now_s += passed_s
            with pytest.raises(ProviderUnavailable):
                document.get()
            assert source.count == count

    def test_one_thread_fetches_and_those_that_have_an_old_one_do_not_wait(self, source: Provider, monkeypatch):
        # Longer than the fetch would wait.
        monkeypatch.setattr("api.auth.cached_document.COMMAND_TIMEOUT_S", 60)
        is_fetching, may_end = Event(), Event()

        def fetch() -> dict[str, Any]:
            if source.count:
                is_fetching.set()
                assert may_end.wait(10)
            return source.ask()

        document = CachedDocument(fetch, clock=source.clock)
        document.get()
        source.now_s += HOUR_S + 1
        with ThreadPoolExecutor(1) as pool:
            fetched = pool.submit(document.get)
            assert is_fetching.wait(20)
            assert document.get() == {"number": 1}
            may_end.set()
            assert fetched.result(20) == {"number": 2}
        assert (document.get(), source.count) == ({"number": 2}, 2)

    def test_those_that_have_none_wait_for_the_thread_that_fetches(self, source: Provider):
        is_fetching, may_end = Event(), Event()

        def fetch() -> dict[str, Any]:
            is_fetching.set()
            assert may_end.wait(20)
            return source.ask()

        document = CachedDocument(fetch, clock=source.clock)
        with ThreadPoolExecutor(1) as pool:
            fetched = pool.submit(document.get)
            assert is_fetching.wait(20)
            # When this thread waits, too, cannot be seen from outside.
            Timer(0.05, may_end.set).start()
            assert document.get() == fetched.result(20) == {"number": 1}
        assert source.count == 1

    def test_is_renewed_some_times_in_a_row_and_then_seldom(self, source, document):
        counts = []
        for passed_s in (0, 5, 10 * HOUR_S):
            source.now_s += passed_s
            for _ in range(10):
                document.renew()
            counts.append(source.count)
        assert counts == [5, 6, 11]


class TestBearerTokens:
    """How long the provider's word about a token is believed."""

    @pytest.fixture
    def words(self, monkeypatch):
        """What the provider says of every token; and says it at each of its addresses."""
        words: dict[str, Any] = {"active": True, "sub": "adam", "groups": ADMINS}
        for module in ("bearer", "provider"):
            monkeypatch.setattr(f"api.auth.{module}.request_json", lambda *_args, **_more: dict(words))
        return words

    def identities(self, source, **settings):
        return BearerAuthenticator(
            IdentityProvider(load(AuthSettings, secret_key=SECRET_KEY, oauth_client_id=CLIENT_ID, **settings)),
            clock=source.clock,
        )

    def test_a_revoked_one_works_for_ten_seconds(self, source, words):
        identities = self.identities(source, oauth_introspection_url="https://sso.example.org/introspect")
        identities.identity("opaque")
        words["active"] = False
        source.now_s += 9.9
        assert identities.identity("opaque").name == "adam"
        source.now_s += 0.1
        with pytest.raises(InvalidToken):
            identities.identity("opaque")

    def test_one_that_the_groups_url_refuses_has_no_groups(self, source, words, monkeypatch):
        """Such as a machine's: it is good all the same."""
        monkeypatch.setattr("api.auth.provider.request_json", Mock(side_effect=ProviderRefused))
        identities = self.identities(
            source, oauth_introspection_url="https://sso.example.org/introspect", oauth_groups_claim="roles"
        )
        identity = identities.identity("opaque")
        assert (identity.name, identity.groups) == ("adam", ())

    def test_groups_that_were_taken_away_count_for_a_minute(self, source, words):
        identities = self.identities(
            source,
            oauth_introspection_url="https://sso.example.org/introspect",
            oauth_groups_url="https://sso.example.org/groups",
            oauth_groups_claim="roles",
        )
        of_token = []
        for passed_s in (0, 59.9, 0.1):
            source.now_s += passed_s
            of_token.append(identities.identity("opaque").groups)
            words["groups"] = []
        assert of_token == [tuple(ADMINS), tuple(ADMINS), ()]


class TestTokens:
    def test_are_asked_about_once_in_ten_seconds(self, source):
        cache = TokenCache(source.ask, 10.0, clock=source.clock)
        numbers = []
        for passed_s, token in ((0, "a" * 40), (9, "a" * 40), (0, "a" * 39 + "b"), (2, "a" * 40)):
            source.now_s += passed_s
            numbers.append(cache.of(token)["number"])
        assert numbers == [1, 1, 2, 3]

    def test_are_asked_about_just_after_another_one_was_refused(self, source):
        ask = Mock(side_effect=[ProviderRefused("status 400"), {"active": True}])
        cache = TokenCache(ask, 10.0, clock=source.clock)
        with pytest.raises(ProviderRefused):
            cache.of("odd")
        assert cache.of("good") == {"active": True}

    def test_are_not_asked_about_just_after_the_provider_was_away(self, source):
        cache = TokenCache(source.ask, 10.0, clock=source.clock)
        source.is_away = True
        for passed_s, count in ((0, 1), (1, 1), (1, 2)):
            source.now_s += passed_s
            with pytest.raises(ProviderUnavailable):
                cache.of("token")
            assert source.count == count

    @pytest.fixture
    def introspecting(self, redis_client):
        settings = {"oauth_client_id": CLIENT_ID, "oauth_secret_key": CLIENT_SECRET}
        settings |= {"oauth_issuer": "https://sso.example.org"}
        return build(
            redis_client, **settings, oauth_introspection_url="https://sso.example.org/introspect"
        ).test_client()

    @pytest.mark.parametrize(
        ("claims", "owner"),
        [
            ({"iss": "https://evil.example.org"}, None),
            ({"iss": "https://sso.example.org"}, "https://sso.example.org adam"),
            # Jobs are those of the same user's session all the same.
            ({}, "https://sso.example.org adam"),
        ],
    )
    def test_are_of_the_issuer_that_is_configured(self, introspecting, monkeypatch, claims, owner):
        answer = {"active": True, "sub": "adam", "groups": ADMINS} | claims
        monkeypatch.setattr("api.auth.bearer.request_json", lambda *_args, **_more: answer)
        said = introspecting.get("/owner", headers=bearer("opaque"))
        assert (said.status_code, said.text) == (200, owner) if owner else said.status_code == 401

    def test_name_the_audience_that_is_configured(self, redis_client, provider):
        client = with_provider(redis_client, provider, oauth_audience="the storage").test_client()
        assert roles_of(client, headers=bearer(provider.token(aud="the storage"))) == {"USER"}
        assert client.get("/whoami", headers=bearer(provider.token())).status_code == 401

    def test_that_are_no_access_tokens_by_their_own_word(self, redis_client, provider):
        client = with_provider(redis_client, provider).test_client()
        for kind in ("ID", "Offline", "Logout"):
            assert client.get("/whoami", headers=bearer(provider.token(typ=kind))).status_code == 401


@pytest.mark.parametrize(
    ("path", "issuer", "is_believed"),
    [
        ("/.well-known/openid-configuration", "https://sso.example.org", True),
        ("/.well-known/openid-configuration", "https://sso.example.org/", True),
        ("/.well-known/openid-configuration", "https://evil.example.org", False),
        ("/.well-known/openid-configuration", None, False),
        ("/metadata.json", "https://login.example.org", True),
    ],
)
def test_a_discovery_document_speaks_for_its_own_issuer(monkeypatch, path, issuer, is_believed):
    """Tokens of another one would be good otherwise."""
    monkeypatch.setattr("api.auth.provider.request_json", lambda *_args, **_more: {"issuer": issuer})
    settings = {"oauth_client_id": CLIENT_ID, "oauth_discovery_url": f"https://sso.example.org{path}"}
    provider = IdentityProvider(load(AuthSettings, secret_key=SECRET_KEY, **settings))
    if is_believed:
        assert provider.issuer() == issuer
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


def test_keys_are_fetched_from_where_that_is_configured(redis_client, provider):
    client = with_provider(redis_client, provider, oauth_jwks_url="http://127.0.0.1:1/keys").test_client()
    assert client.get("/whoami", headers=bearer(provider.token())).status_code == 503


@pytest.mark.parametrize(("trouble", "status"), [(ProviderUnavailable, 503), (ProviderRefused, 302)])
def test_user_info_that_is_refused_is_empty_and_one_that_does_not_come_is_not(
    redis_client, provider, monkeypatch, trouble, status
):
    """Who signs in while it does not come would have no groups."""
    provider.hidden_claims = {"groups"}
    client = with_provider(redis_client, provider).test_client()
    monkeypatch.setattr(IdentityProvider, "ask_userinfo", Mock(side_effect=trouble))
    assert client.get(callback_of(client, "adam")).status_code == status


@pytest.mark.parametrize("place", range(8))
def test_who_somebody_is_stands_in_the_first_of_these_claims(place):
    claims = ("nick", "username", "upn", "cern_upn", "sub", "client_id", "azp", "cid")
    # White space around a name is no part of it.
    answer = {name: f"\tof {name}\n" for name in claims[place:]} | dict.fromkeys(claims[:place], "a\nb")
    assert name_in(answer, "nick") == f"of {claims[place]}"


@pytest.mark.parametrize("place", range(4))
def test_a_machine_is_known_by_the_first_of_these_claims(place):
    claims = ("sub", "client_id", "azp", "cid")
    answer = {"nick": "a robot"} | {name: f"of {name}" for name in claims[place:]}
    assert identity_in(answer, name_claim="nick", groups=()).subject == f"of {claims[place]}"


@pytest.mark.parametrize("answer", [{"groups": ["a"]}, {"roles": ["a"]}, {"groups": ["a"], "roles": ["b"]}])
def test_the_groups_url_may_name_groups_by_the_claim_too(monkeypatch, answer):
    monkeypatch.setattr("api.auth.provider.request_json", lambda *_args, **_more: answer)
    settings = {"oauth_groups_url": "https://sso.example.org/groups", "oauth_groups_claim": "roles"}
    provider = IdentityProvider(load(AuthSettings, secret_key=SECRET_KEY, oauth_client_id=CLIENT_ID, **settings))
    assert provider.groups({"roles": ["c"]}, "token") == ("a",)


@pytest.mark.parametrize(
    ("stated", "issuer"), [("https://a.example.org", "https://a.example.org"), (None, "https://b"), (5, "https://b")]
)
def test_the_issuer_that_the_claims_state_is_part_of_who_somebody_is(stated, issuer):
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
def test_this_service_says_who_it_is_as_the_provider_takes_it(monkeypatch, secret, discovery, taken, method, sent):
    requested: list[dict[str, Any]] = []

    def answer(_method: str, url: str, **options: Any) -> dict[str, Any]:
        requested.append(options)
        return {"issuer": "https://sso.example.org", "token_endpoint": url} | (
            {"token_endpoint_auth_methods_supported": taken} if taken else {}
        )

    monkeypatch.setattr("api.auth.provider.request_json", answer)
    settings = {"oauth_client_id": CLIENT_ID, "oauth_secret_key": secret, "oauth_discovery_url": discovery}
    provider = IdentityProvider(load(AuthSettings, secret_key=SECRET_KEY, **settings))
    assert provider.client_auth_method() == method
    provider.refresh("of before")
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


def test_no_cache_keeps_how_one_signs_in_and_out(redis_client, provider):
    client = with_provider(redis_client, provider).test_client()
    answers = [client.get("/login"), sign_in(client, "adam"), client.get("/logout")]
    assert [answer.headers.get("Cache-Control") for answer in answers] == ["no-store"] * 3
