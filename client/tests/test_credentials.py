"""Signing in, in flows: when credentials are renewed, and which answers of a provider are refused."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from flows import LOST, answer, problem, run
from storage_api_client.configuration.credentials_file import CredentialsFile
from storage_api_client.errors import NotAuthorised
from storage_api_client.protocol.deadlines import Deadline
from storage_api_client.protocol.events import events
from storage_api_client.protocol.messages import ConnectionLost, Ended, Flow, Pause, Request, Response, Send, advance
from storage_api_client.protocol.retries import Context, checked, send_with_retries
from storage_api_client.sign_in import oauth
from storage_api_client.sign_in.oauth import OAuthError, Provider
from storage_api_client.sign_in.session import session_cookie
from storage_api_client.sign_in.static_credentials import basic, bearer
from storage_api_client.sign_in.stored_credentials import stored_credentials

ISSUER = "https://login.example"
METADATA = {
    "issuer": ISSUER,
    "token_endpoint": f"{ISSUER}/token",
    "authorization_endpoint": f"{ISSUER}/authorize",
    "device_authorization_endpoint": f"{ISSUER}/device",
}

#: What is stored of a token, and what a renewal gives.
ENTRY = {
    "profile": "p", "url": "u", "kind": "oauth", "access_token": "old", "refresh_token": "r", "client_id": "c",
    "token_endpoint": f"{ISSUER}/token",
}  # fmt: skip
NEW = {"access_token": "new", "refresh_token": "r2", "expires_in": 3600}


class Numbered:
    """Credentials with a number, renewed as often as is allowed."""

    def __init__(self, renewals: int) -> None:
        self.number, self.left = 0, renewals

    def headers(self) -> Flow[Mapping[str, str]]:
        yield from ()
        return {"Authorization": f"number {self.number}"}

    def renew(self) -> Flow[bool]:
        yield from ()
        self.left, self.number = self.left - 1, self.number + 1
        return self.left >= 0


def sent_with(credentials: Any, *answers: Response) -> tuple[Response, list[str]]:
    response, sent, _ = run(send_with_retries(Context(credentials), Request("GET", "/x"), Deadline(9)), *answers)
    return response, [request.headers["Authorization"] for request in sent]


def form_of(request: Request) -> Mapping[str, str]:
    assert request.form is not None
    return request.form


class TestRenewal:
    """After a 401, once."""

    @pytest.mark.parametrize(
        ("answers", "renewals", "status", "numbers"),
        [
            ([401, 200], 1, 200, [0, 1]), ([401, 401], 9, 401, [0, 1]), ([401], 0, 401, [0]), ([403], 9, 403, [0]),
            ([200], 9, 200, [0]),
        ],
    )  # fmt: skip
    def test_of_each_request(self, answers: list[int], renewals: int, status: int, numbers: list[int]) -> None:
        replies = [problem(code, "x") if code >= 400 else answer(code) for code in answers]
        response, headers = sent_with(Numbered(renewals), *replies)
        assert (response.status, headers) == (status, [f"number {number}" for number in numbers])

    def test_a_stream_is_opened_again_after_a_renewal(self) -> None:
        flow = events(Context(Numbered(9)), ())
        _, sent, _ = run(flow, problem(401, "unauthenticated"), answer(200))
        assert [request.headers["Authorization"] for request in sent] == ["number 0", "number 1"]
        with pytest.raises(NotAuthorised):
            run(events(Context(Numbered(0)), ()), problem(401, "unauthenticated"))

    def test_fixed_credentials_are_not_renewed(self) -> None:
        unauthenticated = problem(401, "unauthenticated")
        assert sent_with(bearer(" t\n"), unauthenticated)[1] == ["Bearer t"]
        assert sent_with(basic("u", "p:ä"), unauthenticated)[1] == ["Basic dTpwOsOk"]

    @pytest.mark.parametrize("token", ["a\nb", "a b", "é"])
    def test_an_invalid_token_is_not_sent(self, token: str) -> None:
        with pytest.raises(ValueError, match=r"^The token is none"):
            bearer(token)


class TestStored:
    """Tokens from the file: renewed shortly before their end, by one of all who share it."""

    def stored(self, tmp_path: Path, **more: Any) -> tuple[Any, CredentialsFile]:
        file = CredentialsFile(tmp_path / "credentials.json")
        entry = {**ENTRY, **more}
        file.store(entry)
        return stored_credentials(entry, file), file

    @pytest.mark.parametrize(("left_s", "token"), [(20, "new"), (60, "old"), (None, "old")])
    def test_it_is_renewed_in_time(self, left_s: float | None, token: str, tmp_path: Path) -> None:
        more = {} if left_s is None else {"expires_at": time.time() + left_s}
        credentials, file = self.stored(tmp_path, **more)
        headers, sent, _ = run(credentials.headers(), *([answer(200, NEW)] if token == "new" else []))
        assert headers == {"Authorization": f"Bearer {token}"}
        if token == "new":
            assert sent[0].form == {"client_id": "c", "grant_type": "refresh_token", "refresh_token": "r"}
            entry_in_file = file.find("p", "u")
            assert entry_in_file is not None
            assert (entry_in_file["access_token"], entry_in_file["refresh_token"]) == ("new", "r2")
            assert entry_in_file["expires_at"] - time.time() > 3000

    def test_the_old_token_is_used_while_the_provider_is_unavailable(self, tmp_path: Path) -> None:
        credentials, _ = self.stored(tmp_path, expires_at=time.time())
        assert run(credentials.headers(), LOST)[0] == {"Authorization": "Bearer old"}

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_a_provider_in_error_says_nothing_of_who_asks(self, status: int, tmp_path: Path) -> None:
        """A temporary overload of the provider requires no new sign-in."""
        credentials, _ = self.stored(tmp_path)
        with pytest.raises(ConnectionLost) as failure:
            run(credentials.renew(), Response(status, {}, b"<html>"))
        assert not failure.value.sent
        flow = send_with_retries(Context(credentials), Request("GET", "/x"), Deadline(9))
        refused = problem(401, "unauthenticated")
        assert run(flow, refused, problem(status, "x"), refused, answer(200, NEW), answer(200))[0].status == 200

    def test_tokens_that_cannot_be_stored_are_used_all_the_same(self, tmp_path: Path) -> None:
        credentials, file = self.stored(tmp_path)
        file.path.with_suffix(".lock").mkdir()
        file.path.with_suffix(".write-lock").unlink()
        file.path.with_suffix(".write-lock").mkdir()
        assert run(credentials.renew(), answer(200, NEW))[0] is True
        assert run(credentials.headers())[0] == {"Authorization": "Bearer new"}
        assert file.find("p", "u") == ENTRY

    def test_tokens_renewed_by_another_process_are_used(self, tmp_path: Path) -> None:
        credentials, file = self.stored(tmp_path)
        file.store({**ENTRY, "access_token": "theirs"})
        renewed, sent, _ = run(credentials.renew())
        assert (renewed, sent) == (True, [])
        assert run(credentials.headers())[0] == {"Authorization": "Bearer theirs"}

    def test_a_renewal_does_not_replace_another_sign_in(self, tmp_path: Path) -> None:
        credentials, file = self.stored(tmp_path)
        other = {**ENTRY, "kind": "basic", "user": "bob"}
        file.store(other)
        assert run(credentials.renew(), answer(200, NEW))[0] is True
        assert run(credentials.headers())[0] == {"Authorization": "Bearer new"}
        assert file.find("p", "u") == other

    def test_a_renewal_does_not_undo_a_sign_out(self, tmp_path: Path) -> None:
        credentials, file = self.stored(tmp_path)
        assert file.forget("p", "u")
        assert run(credentials.renew())[::2] == (False, [])
        assert file.find("p", "u") is None

    def test_renewals_are_serialized(self, tmp_path: Path) -> None:
        first, file = self.stored(tmp_path)
        second = stored_credentials(ENTRY, file)
        renewing = first.renew()
        assert isinstance(advance(renewing), Send)
        waiting = second.renew()
        assert isinstance(advance(waiting), Pause)
        assert advance(renewing, answer(200, NEW)) == Ended(True)
        assert advance(waiting) == Ended(True)
        assert run(second.headers())[0] == {"Authorization": "Bearer new"}

    def test_the_lock_is_released(self, tmp_path: Path) -> None:
        credentials, _ = self.stored(tmp_path)
        for _ in range(2):
            assert run(credentials.renew(), answer(200, NEW))[::2] == (True, [])
        assert run(credentials.renew(), answer(400, {"error": "invalid_grant"}))[0] is False

    def test_without_a_refresh_token_the_user_must_sign_in(self, tmp_path: Path) -> None:
        credentials, _ = self.stored(tmp_path, refresh_token="")
        renewed, sent, _ = run(credentials.renew())
        assert (renewed, sent) == (False, [])

    def test_a_machine_signs_in_again(self, tmp_path: Path) -> None:
        more = {"grant": "client_credentials", "client_secret": "s", "scope": "x", "audience": "a"}
        credentials, _ = self.stored(tmp_path, **more)
        _, (sent,), _ = run(credentials.renew(), answer(200, NEW))
        assert sent.form == {
            "client_id": "c", "client_secret": "s", "grant_type": "client_credentials", "scope": "x", "audience": "a",
        }  # fmt: skip


class TestProvider:
    """Answers of a provider are validated."""

    provider = Provider(METADATA, "c", "secret", audience="a")

    @pytest.mark.parametrize("issuer", ["http://login.example", "ftp://login.example"])
    def test_the_provider_must_use_tls(self, issuer: str) -> None:
        with pytest.raises(OAuthError, match="https"):
            run(oauth.discover(issuer))
        with pytest.raises(OAuthError, match="https"):
            Provider({"token_endpoint": f"{issuer}/token"}, "c").endpoint("token")
        assert Provider({"token_endpoint": "http://127.0.0.1:1/t"}, "c").endpoint("token")

    def test_the_issuer_must_match(self) -> None:
        metadata, (sent,), _ = run(oauth.discover(f"{ISSUER}/"), answer(200, METADATA))
        whole = f"{ISSUER}/.well-known/openid-configuration"
        assert (metadata["issuer"], sent.path) == (ISSUER, whole)
        assert run(oauth.discover(whole), answer(200, METADATA))[1][0].path == whole
        with pytest.raises(OAuthError, match="check the issuer"):
            run(oauth.discover("https://other.example"), answer(200, METADATA))

    def test_a_service_announces_its_own(self) -> None:
        said = {"resource": "https://s.example", "authorization_servers": [ISSUER], "client_id": "c"}
        assert run(oauth.get_resource_metadata("https://s.example/"), answer(200, said))[0].issuer == ISSUER
        assert run(oauth.get_resource_metadata("https://s.example"), problem(404, "not-found"))[0].issuer is None
        none = answer(200, {"resource": "https://s.example", "authorization_servers": []})
        assert run(oauth.get_resource_metadata("https://s.example"), none)[0].issuer is None
        with pytest.raises(OAuthError, match="use that address"):
            run(oauth.get_resource_metadata("https://t.example"), answer(200, said))

    def test_the_callback_must_match_the_request(self) -> None:
        request = oauth.authorization_request(self.provider, "http://127.0.0.1:7/callback")
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.url).query).items()}
        assert query["code_challenge_method"] == "S256"
        digest = hashlib.sha256(request.verifier.encode()).digest()
        assert query["code_challenge"] == base64.urlsafe_b64encode(digest).decode().rstrip("=")
        assert (query["client_id"], query["audience"], query["response_type"]) == ("c", "a", "code")
        good = {"state": query["state"], "code": "x", "iss": ISSUER}
        entry, (sent,), _ = run(oauth.exchange_code(self.provider, request, good), answer(200, {"access_token": "t"}))
        assert entry == {"access_token": "t"}
        assert form_of(sent)["code_verifier"] == request.verifier
        assert form_of(sent)["redirect_uri"] == request.redirect_uri
        for wrong in (
            {"state": "other"},
            {"state": "é"},
            {"state": ""},
            {"iss": "https://other.example"},
            {"code": None},
        ):
            bad = {name: value for name, value in (good | wrong).items() if value is not None}
            with pytest.raises(OAuthError):
                run(oauth.exchange_code(self.provider, request, bad))

    def test_the_authorization_endpoint_may_have_a_query(self) -> None:
        for address, sign in ((f"{ISSUER}/a", "?"), (f"{ISSUER}/a?t=1", "&")):
            provider = Provider({"authorization_endpoint": address}, "c")
            url = oauth.authorization_request(provider, "http://127.0.0.1:7/callback").url
            assert url.startswith(f"{address}{sign}response_type=")

    def test_the_device_flow_polls_at_the_allowed_interval(self) -> None:
        prompts: list[Any] = []
        start = {"device_code": "d", "user_code": "u", "verification_uri": "https://v", "interval": 2}
        waits = [
            Response(503, {}, b""),
            *(answer(400, {"error": code}) for code in ("authorization_pending", "slow_down")),
        ]
        flow = oauth.device_flow(self.provider, lambda *prompt: prompts.append(prompt))
        entry, sent, pauses = run(flow, answer(200, start), *waits, answer(200, {"access_token": "t"}))
        assert (entry, pauses, prompts) == ({"access_token": "t"}, [2.0, 2.0, 2.0, 7.0], [("https://v", "u", None)])
        assert {form_of(request)["device_code"] for request in sent[1:]} == {"d"}
        with pytest.raises(OAuthError, match="access_denied"):
            run(oauth.device_flow(self.provider, lambda *_: None), answer(200, start),
                answer(400, {"error": "access_denied"}))  # fmt: skip
        with pytest.raises(OAuthError, match="in time"):
            run(oauth.device_flow(self.provider, lambda *_: None), answer(200, start | {"expires_in": 0}))

    def test_stored_fields_are_sufficient_for_a_renewal(self) -> None:
        assert oauth.renewal_fields(Provider(METADATA, "c", "secret", "x", "a"), "device_code") == {
            "audience": "a",
            "kind": "oauth", "grant": "device_code", "issuer": ISSUER, "token_endpoint": f"{ISSUER}/token",
            "client_id": "c", "client_secret": "secret", "scope": "x",
        }  # fmt: skip


def test_a_session_is_accepted_only_from_a_direct_login() -> None:
    given = Response(302, {"location": "/"}, cookies=["session=s; Path=/; HttpOnly", "old=; Max-Age=0"])
    assert run(session_cookie(), given)[0] == "session=s"
    assert run(session_cookie(), Response(302, {"location": "https://login.example/"}, cookies=["a=b"]))[0] is None
    assert run(session_cookie(), Response(200, {"location": "/"}, cookies=["a=b"]))[0] is None


def test_an_answer_without_a_body_is_nothing() -> None:
    assert checked(Response(204, {}), Request("DELETE", "/x")) is None
    assert json.dumps(checked(answer(200, {"a": 1}), Request("GET", "/x"))) == '{"a": 1}'
