"""Signing in through a provider: attacks, and providers that fail."""

from __future__ import annotations

import logging
import secrets
import time
from io import BytesIO
from unittest.mock import Mock

import pytest
import requests
from authlib.common.errors import AuthlibBaseError
from urllib3 import HTTPResponse

from api.auth.authorization_code import SignInClient
from tests.api.auth.auth_app import PREFIX, build, callback_of, code_of, query_of, roles_of, sign_in, with_provider
from tests.identity_provider.fixtures import CLIENT_ID, CLIENT_SECRET


@pytest.fixture
def client(redis_client, provider):
    return with_provider(redis_client, provider).test_client()


class TestAttacks:
    def test_an_unknown_state_is_refused(self, client):
        callback_of(client, "adam")

        assert code_of(client.get("/oauth-done?code=x&state=y")) == (400, "invalid-request")
        assert code_of(client.get("/oauth-done")) == (400, "invalid-request")
        assert roles_of(client) == {"USER"}

    def test_a_sign_in_that_was_begun_too_long_ago_is_refused(self, client):
        link = callback_of(client, "adam")
        with client.session_transaction() as session:
            (begun,) = [value for name, value in session.items() if name.startswith("_state_")]
            assert 590 < begun["exp"] - time.time() <= 600
            begun["exp"] = time.time() - 1
            session.modified = True
        assert code_of(client.get(link)) == (400, "invalid-request")
        assert roles_of(client) == {"USER"}

    def test_a_code_in_another_browser_is_refused(self, client):
        """Login CSRF: a user who follows the attacker's link would be signed in as the attacker."""
        link = callback_of(client, "uma")
        browser = client.application.test_client()

        assert code_of(browser.get(link)) == (400, "invalid-request")
        browser.get("/login")
        assert code_of(browser.get(link)) == (400, "invalid-request")

    def test_a_replay_in_the_same_browser_is_refused(self, client, provider, redis_client):
        """Even where the provider would take its code twice."""
        link = callback_of(client, "adam")
        before, codes = client.get_cookie("sapi_session").value, dict(provider.codes)
        assert client.get(link).status_code == 302
        # A state is remembered for longer than a sign-in may take.
        (used,) = redis_client.keys(f"{PREFIX}used_state:*")
        assert 600 < redis_client.ttl(used) <= 1200
        provider.codes.update(codes)
        client.get("/logout")

        client.set_cookie("sapi_session", before)
        assert code_of(client.get(link)) == (400, "invalid-request")
        assert roles_of(client) == {"USER"}

    def test_a_code_that_was_already_used_is_refused(self, client, provider):
        link = callback_of(client, "adam")
        provider.codes.clear()

        assert code_of(client.get(link)) == (400, "invalid-request")

    def test_a_code_of_another_sign_in_is_refused(self, client):
        first, second = callback_of(client, "uma"), callback_of(client, "anna")
        swapped = first.replace(query_of(first)["code"], query_of(second)["code"])

        assert code_of(client.get(swapped)) == (400, "invalid-request")

    def test_an_id_token_with_another_nonce_is_refused(self, client, provider):
        link = callback_of(client, "adam")
        for code in provider.codes.values():
            code.nonce = "another one"

        assert code_of(client.get(link)) == (400, "invalid-request")
        assert roles_of(client) == {"USER"}

    def test_a_response_without_an_id_token_is_refused(self, client, monkeypatch):
        link, fetch = callback_of(client, "adam"), SignInClient.fetch_access_token
        monkeypatch.setattr(
            SignInClient,
            "fetch_access_token",
            lambda *args, **more: {name: value for name, value in fetch(*args, **more).items() if name != "id_token"},
        )

        assert code_of(client.get(link)) == (400, "invalid-request")
        assert roles_of(client) == {"USER"}

    def test_a_callback_without_a_code_is_refused(self, client, provider):
        state = query_of(client.get("/login").headers["Location"])["state"]

        refused = client.get("/oauth-done", query_string={"state": state})
        assert code_of(refused) == (400, "invalid-request")
        assert "sent no code" in refused.get_json()["detail"]
        assert "/token" not in provider.request_counts

    def test_the_code_verifier_is_not_logged(self, client, caplog):
        with caplog.at_level(logging.DEBUG):
            sign_in(client, "adam")

        assert "code_verifier" not in caplog.text

    def test_a_callback_from_another_issuer_is_refused(self, client):
        link = callback_of(client, "adam") + "&iss=https://evil.example.org"

        assert code_of(client.get(link)) == (400, "invalid-request")

    def test_the_provider_refuses(self, client):
        state = query_of(client.get("/login").headers["Location"])["state"]

        refused = client.get("/oauth-done", query_string={"error": "access_denied", "state": state})
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        state = query_of(client.get("/login").headers["Location"])["state"]
        refused = client.get("/oauth-done", query_string={"error": "<script>x", "state": state})
        assert code_of(refused) == (400, "invalid-request")
        assert "<" not in refused.text

    def test_a_session_id_from_before_the_sign_in_is_not_signed_in(self, client):
        """Session fixation: the attacker knows the cookie that the user had before."""
        link = callback_of(client, "uma")
        planted = client.get_cookie("sapi_session").value
        client.get(link)
        attacker = client.application.test_client()
        attacker.set_cookie("sapi_session", planted)

        assert roles_of(client) == {"USER", "UBER_ADMIN"}
        assert roles_of(attacker) == {"USER"}

    def test_other_sign_ins_of_the_browser_end_when_one_succeeds(self, client):
        other = callback_of(client, "uma")
        sign_in(client, "anna")
        with client.session_transaction() as session:
            assert set(session) == {"id", "_permanent"}
        assert code_of(client.get(other)) == (400, "invalid-request")

    @pytest.mark.parametrize(
        "target",
        [
            "//evil.example.org",
            "https://evil.example.org/",
            "/\\evil.example.org",
            "\\\\evil.example.org",
            "/\t/evil.example.org",
            "/\n/evil.example.org",
            "javascript:alert(1)",
            "evil.example.org",
            "///evil.example.org",
            " //evil.example.org",
            "/%0d%0aSet-Cookie:x=y\r\nX: y",
            "",
        ],
    )
    def test_signing_in_and_out_redirects_to_no_other_host(self, client, target):
        assert sign_in(client, "anna", target).headers["Location"] == "/"
        assert client.get("/logout", query_string={"next": target}).headers["Location"] == "/"

    def test_many_begun_sign_ins_do_not_overflow_the_cookie(self, client):
        for _ in range(20):
            client.get("/login", query_string={"next": "/" + "x" * 200})

        assert len(client.get_cookie("sapi_session").value) < 4000
        # Nor do long addresses that cannot be compressed.
        for length in (1_900, 1_900, 6_000):
            target = "/x" + secrets.token_hex(length // 2)
            link = callback_of(client, "anna", target)
            assert len(client.get_cookie("sapi_session").value) < 4000
        # Who comes from an address that does not fit is led to the documentation.
        assert client.get(link).headers["Location"] == "/"
        # The last three may still be finished.
        oldest, first, *_ = [callback_of(client, "anna") for _ in range(4)]
        assert code_of(client.get(oldest)) == (400, "invalid-request")
        assert client.get(first).status_code == 302


class TestProviderFailures:
    def test_without_a_provider_sign_in_is_unavailable(self, redis_client):
        answer = build(redis_client).test_client().get("/login")

        assert code_of(answer) == (503, "sign-in-unavailable")
        assert "SAPI_OAUTH_CLIENT_ID" in answer.get_json()["detail"]
        # Sending it again sets nothing.
        assert answer.get_json()["retryable"] is False

    def test_a_provider_that_is_unavailable_is_reported(self, client, provider):
        link = callback_of(client, "adam")
        provider.stop()

        answer = client.get(link)
        assert code_of(answer) == (503, "sign-in-unavailable")
        # The same link works once.
        assert (answer.get_json()["retryable"], "Retry-After" in answer.headers) == (False, False)
        assert "Start again at /login" in answer.get_json()["detail"]
        assert code_of(client.get(link)) == (400, "invalid-request")
        new = with_provider_of(client)
        assert code_of(new.get("/login")) == (503, "sign-in-unavailable")

    def test_a_provider_that_does_not_answer_is_reported(self, client, provider):
        link = callback_of(client, "adam")
        provider.awake.clear()

        assert code_of(client.get(link)) == (503, "sign-in-unavailable")

    def test_a_wrong_client_secret_is_reported(self, redis_client, provider, caplog):
        client = with_provider(redis_client, provider, oauth_secret_key="wrong").test_client()

        assert code_of(sign_in(client, "anna")) == (503, "sign-in-unavailable")
        assert f"sign-in provider: ProviderUnavailable: status 401 at {provider.issuer}/token: 'invalid_client'" in (
            caplog.text
        )

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            *((body, 503) for body in (b"", b"<html>", b"[]", b"{}", b'{"access_token": 5}', b'{"access_token": ""}')),
            *((b'{"access_token": "a", "id_token": 5}', 400), (b'{"error": "bad_verification_code"}', 400)),
            (b'{"error": "invalid_client"}', 503),
            # How long it holds is looked at by nobody.
            *((b'{"access_token": "a", "expires_%s": {}}' % name, 400) for name in (b"in", b"at")),
        ],
    )
    def test_a_malformed_token_response_is_reported(self, client, monkeypatch, body, status):
        link, send = callback_of(client, "adam"), requests.Session.send

        def answer(session, sent, **options):
            received = send(session, sent, **options)
            if sent.url.endswith("/token"):
                received.raw = HTTPResponse(BytesIO(body), preload_content=False)
            return received

        monkeypatch.setattr(requests.Session, "send", answer)
        assert client.get(link).status_code == status

    @pytest.mark.parametrize(
        ("error", "status", "code"),
        [
            *((error, 503, "sign-in-unavailable") for error in ("server_error", "temporarily_unavailable")),
            *((error, 503, "sign-in-unavailable") for error in ("invalid_client", "unauthorized_client")),
            ("access_denied", 401, "unauthenticated"),
            *((error, 400, "invalid-request") for error in ("invalid_scope", "of_a_later_version")),
        ],
    )
    def test_provider_errors_get_the_status_of_the_responsible_party(self, client, error, status, code):
        state = query_of(client.get("/login").headers["Location"])["state"]

        answer = client.get("/oauth-done", query_string={"error": error, "state": state})
        assert code_of(answer) == (status, code)
        assert answer.headers.get("WWW-Authenticate") == ("Bearer" if status == 401 else None)

    def test_a_refusal_without_an_error_code_is_reported_as_unknown(self, client, monkeypatch):
        link = callback_of(client, "adam")
        monkeypatch.setattr(SignInClient, "fetch_access_token", Mock(side_effect=AuthlibBaseError))
        assert "The provider refused (unknown)." in client.get(link).get_json()["detail"]


def with_provider_of(client):
    """A browser of a service that never reached its provider."""
    from api.auth.services import EXTENSION

    settings = client.application.extensions[EXTENSION].settings
    return build(client.application.extensions[EXTENSION].sessions._redis, **settings.model_dump()).test_client()


def test_a_code_cannot_be_exchanged_without_the_verifier(client, provider):
    """PKCE: an intercepted code cannot be exchanged, even with the client's secret."""
    code = query_of(callback_of(client, "uma"))["code"]
    stolen = {"grant_type": "authorization_code", "code": code, "redirect_uri": "http://localhost/oauth-done"}

    answer = requests.post(f"{provider.issuer}/token", data=stolen, auth=(CLIENT_ID, CLIENT_SECRET), timeout=20)

    assert answer.status_code == 400
