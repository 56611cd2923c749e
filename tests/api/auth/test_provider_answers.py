"""How long documents, keys and answers of the provider are cached."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Timer
from typing import Any
from unittest.mock import Mock

import pytest
from joserfc import jws
from joserfc.jwk import RSAKey

from api.auth import AuthSettings
from api.auth.bearer import BearerAuthenticator, TokenCache
from api.auth.cached_document import CachedDocument
from api.auth.provider import IdentityProvider
from api.auth.provider_http import ProviderRefused, ProviderUnavailable
from api.auth.tokens import InvalidToken
from tests.api.auth.auth_app import SECRET_KEY, bearer, build, roles_of, with_provider
from tests.identity_provider.fixtures import CLIENT_ID, CLIENT_SECRET
from worker.config.settings import load

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

    def test_is_fetched_again_after_an_hour(self, source, document):
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

    def test_that_could_not_be_fetched_is_not_requested_again_at_once(self, source, document):
        source.is_away = True
        left_alone = "the provider is away, and is left alone for a moment"
        for passed_s, count, why in ((0, 1, "away"), (1, 1, left_alone), (1, 2, "away")):
            source.now_s += passed_s
            with pytest.raises(ProviderUnavailable) as caught:
                document.get()
            assert (source.count, str(caught.value)) == (count, why)

    def test_one_thread_fetches_and_threads_with_an_old_document_do_not_wait(self, source: Provider, monkeypatch):
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

    def test_a_thread_with_an_old_document_does_not_wait_for_the_lock(self, source, document, monkeypatch):
        document.get()
        source.now_s += HOUR_S + 1
        lock = Mock(acquire=Mock(return_value=False))
        monkeypatch.setattr(document, "_lock", lock)
        assert document.get() == {"number": 1}
        lock.acquire.assert_called_once_with(blocking=False)

    def test_a_thread_that_needs_a_new_entry_waits_for_the_fetching_thread(self, source: Provider):
        """Such as all who have tokens that are signed with a new key."""
        is_fetching, may_end = Event(), Event()

        def fetch() -> dict[str, Any]:
            if source.count:
                is_fetching.set()
                assert may_end.wait(20)
            return source.ask()

        document = CachedDocument(fetch, clock=source.clock)
        document.get()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(document.renew)
            assert is_fetching.wait(20)
            Timer(0.05, may_end.set).start()
            document.renew()
            assert document.get()["number"] > 1

    def test_threads_without_a_document_wait_for_the_thread_that_fetches(self, source: Provider):
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

    def test_renewals_in_a_row_are_limited(self, source, document):
        counts = []
        for passed_s in (0, 5, 10 * HOUR_S):
            source.now_s += passed_s
            for _ in range(10):
                document.renew()
            counts.append(source.count)
        assert counts == [5, 6, 11]


class TestBearerTokens:
    """How long the introspection result of a token is cached."""

    @pytest.fixture
    def words(self, monkeypatch):
        """The provider's answer for every token, at each of its addresses."""
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
        """Such as a machine's: it is good all the same. Where there is no answer, nobody knows which it has."""
        monkeypatch.setattr(
            "api.auth.provider.request_json",
            Mock(side_effect=[ProviderUnavailable, ProviderRefused, ProviderUnavailable]),
        )
        identities = self.identities(
            source, oauth_introspection_url="https://sso.example.org/introspect", oauth_groups_claim="roles"
        )
        with pytest.raises(ProviderUnavailable):
            identities.identity("opaque")
        source.now_s += 2
        for _ in range(2):
            identity = identities.identity("opaque")
            assert (identity.name, identity.groups) == ("adam", ())

    def test_groups_that_were_taken_away_count_for_a_minute(self, source, words, monkeypatch):
        identities = self.identities(
            source,
            oauth_introspection_url="https://sso.example.org/introspect",
            oauth_groups_url="https://sso.example.org/groups",
            oauth_groups_claim="roles",
        )
        of_token = []
        asked = Mock(side_effect=lambda *_args, **_more: dict(words))
        monkeypatch.setattr("api.auth.provider.request_json", asked)
        for passed_s in (0, 59.9, 0.1):
            source.now_s += passed_s
            of_token.append(identities.identity("opaque").groups)
            words["groups"] = []
        assert of_token == [tuple(ADMINS), tuple(ADMINS), ()]
        assert asked.call_args.kwargs["headers"]["Authorization"] == "Bearer opaque"


class TestTokens:
    def test_are_introspected_once_in_ten_seconds(self, source):
        cache = TokenCache(source.ask, 10.0, clock=source.clock)
        numbers = []
        for passed_s, token in ((0, "a" * 40), (9, "a" * 40), (0, "a" * 39 + "b"), (2, "a" * 40)):
            source.now_s += passed_s
            numbers.append(cache.of(token)["number"])
        assert numbers == [1, 1, 2, 3]

    def test_are_introspected_after_another_one_was_refused(self, source):
        ask = Mock(side_effect=[ProviderRefused("status 400"), {"active": True}])
        cache = TokenCache(ask, 10.0, clock=source.clock)
        with pytest.raises(ProviderRefused):
            cache.of("odd")
        assert cache.of("good") == {"active": True}

    def test_are_not_introspected_just_after_the_provider_was_unavailable(self, source):
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

    def test_with_a_forged_signature_cause_no_request_for_keys(self, redis_client, provider):
        client = with_provider(redis_client, provider).test_client()
        assert client.get("/whoami", headers=bearer(provider.token())).status_code == 200
        forged = provider.token(key=RSAKey.generate_key(2048))
        assert client.get("/whoami", headers=bearer(forged)).status_code == 401
        assert provider.request_counts["/jwks"] == 1

    def test_need_not_name_their_type_and_key(self, redis_client, provider):
        client = with_provider(redis_client, provider).test_client()
        claims = {"iss": provider.issuer, "aud": CLIENT_ID, "sub": "x", "exp": int(time.time()) + 99}
        token = jws.serialize_compact({"alg": "RS256"}, json.dumps(claims), provider.key)
        assert [client.get("/whoami", headers=bearer(token)).status_code for _ in range(2)] == [200, 200]
        assert provider.request_counts["/jwks"] == 1

    def test_name_the_audience_that_is_configured(self, redis_client, provider):
        client = with_provider(redis_client, provider, oauth_audience="the storage").test_client()
        assert roles_of(client, headers=bearer(provider.token(aud="the storage"))) == {"USER"}
        assert client.get("/whoami", headers=bearer(provider.token())).status_code == 401

    def test_of_another_declared_type_are_refused(self, redis_client, provider):
        client = with_provider(redis_client, provider).test_client()
        for kind in ("ID", "Offline", "Logout"):
            assert client.get("/whoami", headers=bearer(provider.token(typ=kind))).status_code == 401
