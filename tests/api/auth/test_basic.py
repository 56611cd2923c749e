"""HTTP Basic: one user, only when configured, for each request or for a session."""

from __future__ import annotations

import base64
from unittest.mock import Mock

import pytest
from redis import Redis

from api.auth.recent_sign_ins import RecentSignIns
from api.auth.services import EXTENSION
from tests.api.auth.auth_app import PREFIX, bearer, build, roles_of, with_provider
from tests.api.front_end import FrontEnd

SETTINGS = {
    "basic_auth_username": "svc",
    "basic_auth_password": "páss:wörd",
    "role_admin_groups": ("a",),
    "role_uber_admin_groups": ("u",),
}
EVERY = {"USER", "ADMIN", "UBER_ADMIN"}


def basic(name, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


GOOD = basic("svc", "páss:wörd")


@pytest.fixture
def client(redis_client):
    return build(redis_client, **SETTINGS).test_client()


def test_credentials_sign_in_a_single_request(client):
    who = client.get("/whoami", headers=GOOD).get_json()

    assert who == {"name": "svc", "roles": sorted(EVERY), "auth_method": "basic"}
    assert roles_of(client) == {"USER"}


def test_login_basic_begins_a_session(client):
    answer = client.get("/login_basic?next=/whoami", headers=GOOD)

    assert (answer.status_code, answer.headers["Location"]) == (302, "/whoami")
    assert client.get("/whoami").get_json() == {"name": "svc", "roles": sorted(EVERY), "auth_method": "session"}
    assert client.get("/login_basic?next=//evil.example.org/", headers=GOOD).headers["Location"] == "/"
    assert client.post("/login_basic?next=/whoami", headers=GOOD).headers["Location"] == "/whoami"
    # The jobs of requests with the password are those of the session, too.
    assert client.get("/owner").text == client.get("/owner", headers=GOOD).text == "basic svc"


def test_a_bearer_token_with_the_basic_users_name_begins_no_session(redis_client, provider):
    client = with_provider(redis_client, provider, **SETTINGS).test_client()
    token = bearer(provider.token(preferred_username="svc"))
    answer = client.get("/login_basic", headers=token)

    assert answer.status_code == 401
    assert 'Basic realm="storage-api"' in answer.headers["WWW-Authenticate"]
    assert roles_of(client) == {"USER"}


@pytest.mark.parametrize(
    ("name", "password"), [("svc", "wrong"), ("svc", ""), ("", ""), ("other", "páss:wörd"), ("SVC", "páss:wörd")]
)
def test_wrong_credentials_are_refused(client, name, password):
    for path in ("/login_basic", "/conf/me/roles", "/v4/needs/USER"):
        answer = client.get(path, headers=basic(name, password))
        assert answer.status_code == 401
        assert 'Basic realm="storage-api"' in answer.headers["WWW-Authenticate"]


def test_guessing_passwords_is_limited(redis_client):
    client = build(redis_client, **SETTINGS, sign_in_network_limit=3).test_client()
    wrong = [client.get("/conf/me/roles", headers=basic("svc", guess)).status_code for guess in "abcd"]
    assert wrong == [401, 401, 401, 429]

    late = client.get("/conf/me/roles", headers=GOOD)
    assert (late.status_code, late.get_json()["code"], late.headers["Retry-After"]) == (429, "rate-limited", "60")
    assert late.get_json()["limit"] == "SAPI_SIGN_IN_NETWORK_LIMIT"
    elsewhere = {"environ_base": {"REMOTE_ADDR": "192.0.2.7"}}
    assert roles_of(client, headers=GOOD, **elsewhere) == EVERY


@pytest.mark.parametrize("path", ["/", "/console/", "/console/jobs", "/v3/filer/volumes", "/v4/jobs", "/login_basic"])
def test_a_wrong_password_counts_once(redis_url, redis_client, path):
    """Also where the page that shows the refusal asks again who it is."""
    FrontEnd(redis_url).stranger().get(path, headers=basic("ann", "wrong"))
    counters = redis_client.keys(f"{PREFIX}attempts:*")
    assert (len(counters), redis_client.mget(counters)) == (2, [b"1", b"1"])


@pytest.mark.parametrize("limit", ["sign_in_network_limit", "sign_in_user_limit"])
def test_without_redis_each_process_counts_wrong_passwords_by_itself(limit):
    with Redis(port=1) as unavailable:
        client = build(unavailable, **SETTINGS, **{limit: 2}).test_client()
        answers = [client.get("/v4/needs/USER", headers=basic("svc", "wrong")) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert answers[-1].get_json()["limit"] == f"SAPI_{limit.upper()}"


def test_wrong_passwords_from_other_networks_do_not_lock_out_a_network_that_signed_in(redis_client):
    client = build(redis_client, **SETTINGS, sign_in_user_limit=1).test_client()

    def tried(headers, address):
        return client.get("/whoami", headers=headers, environ_base={"REMOTE_ADDR": address})

    assert tried(GOOD, "192.0.2.1").status_code == 200
    assert tried(basic("svc", "x"), "192.0.2.2").status_code == 401
    assert tried(GOOD, "192.0.2.1").status_code == 200
    assert tried(GOOD, "192.0.2.3").get_json()["limit"] == "SAPI_SIGN_IN_USER_LIMIT"


def test_wrong_passwords_are_counted_over_all_processes(redis_client):
    one, other = (build(redis_client, **SETTINGS, sign_in_network_limit=2).test_client() for _ in range(2))
    assert [process.get("/whoami", headers=basic("svc", "x")).status_code for process in (one, other, one)] == [
        401,
        401,
        429,
    ]
    assert other.get("/login_basic", headers=GOOD).status_code == 429


@pytest.fixture
def long_memory(monkeypatch):
    """Sign-ins are remembered for longer than the slowest machine takes for a test."""
    monkeypatch.setattr("api.auth.recent_sign_ins.REMEMBERED_S", 60.0)


@pytest.mark.usefixtures("long_memory")
def test_a_series_of_requests_reads_the_attempt_counts_once(redis_client, monkeypatch):
    client = build(redis_client, **SETTINGS).test_client()
    attempts = client.application.extensions[EXTENSION].basic.attempts
    counts = Mock(wraps=attempts.counts)
    monkeypatch.setattr(attempts, "counts", counts)

    assert [client.get("/whoami", headers=GOOD).status_code for _ in range(3)] == [200, 200, 200]
    counts.assert_called_once_with("svc", "127.0.0.1/32")


@pytest.mark.usefixtures("long_memory")
@pytest.mark.parametrize("guesses_elsewhere", [1, 2])
def test_after_a_wrong_password_a_remembered_sign_in_is_checked_again(redis_client, guesses_elsewhere):
    one, other = (build(redis_client, **SETTINGS, sign_in_network_limit=2).test_client() for _ in range(2))
    assert one.get("/whoami", headers=GOOD).status_code == 200
    for _ in range(guesses_elsewhere):
        other.get("/whoami", headers=basic("svc", "x"))

    assert one.get("/whoami", headers=basic("svc", "x")).status_code in (401, 429)
    assert one.get("/whoami", headers=GOOD).status_code == 429


def test_a_sign_in_is_remembered_briefly_for_the_same_credentials():
    now_s = [100.0]
    recent = RecentSignIns(clock=lambda: now_s[0])
    recent.add("svc", "192.0.2.1/32", "right", (b"1", None, None))

    for other in (("svc", "192.0.2.1/32", "wrong"), ("svc", "192.0.2.2/32", "right"), ("s", "192.0.2.1/32", "right")):
        assert recent.counts(*other) is None
    # A character moved from one field to the next makes another digest.
    assert recent.counts("svc1", "92.0.2.1/32", "right") is None
    assert recent.counts("svc", "192.0.2.1/32", "right") == (b"1", None, None)
    now_s[0] += 0.25
    assert recent.counts("svc", "192.0.2.1/32", "right") is None


def test_remembered_digests_differ_between_processes():
    """Whoever reads the memory of one process cannot try passwords with it."""
    assert RecentSignIns()._digest("svc", "right") != RecentSignIns()._digest("svc", "right")


def test_the_number_of_remembered_sign_ins_is_limited(monkeypatch):
    monkeypatch.setattr("api.auth.recent_sign_ins._MOST", 2)
    recent, counts = RecentSignIns(clock=lambda: 0.0), (b"1", None, None)
    for user in "abc":
        recent.add(user, "192.0.2.1/32", "right", counts)
    assert [recent.counts(user, "192.0.2.1/32", "right") for user in "abc"] == [None, None, counts]


def test_addresses_of_one_ipv6_network_count_as_one_client(redis_client):
    client = build(redis_client, **SETTINGS, sign_in_network_limit=2).test_client()

    def tried(address, headers):
        return client.get("/whoami", headers=headers, environ_base={"REMOTE_ADDR": address}).status_code

    assert [tried(f"2001:db8::{number}", basic("svc", "x")) for number in range(3)] == [401, 401, 429]
    assert tried("2001:db8:0:1::1", GOOD) == 200


def test_behind_a_trusted_proxy_wrong_passwords_count_for_the_client_only(redis_client):
    trusted = SETTINGS | {"sign_in_network_limit": 2, "trusted_networks": ("10.0.0.0/8",)}
    client = build(redis_client, **trusted).test_client()

    def tried(headers, forwarded_for, peer="10.1.1.1"):
        sent = headers | {"X-Forwarded-For": forwarded_for}
        return client.get("/whoami", headers=sent, environ_base={"REMOTE_ADDR": peer}).status_code

    assert [tried(basic("svc", "x"), "192.0.2.1") for _ in range(3)] == [401, 401, 429]
    assert tried(GOOD, "192.0.2.2") == 200
    # From an untrusted peer the header does not change the client's address.
    assert [tried(basic("svc", "x"), f"192.0.2.{n}", "203.0.113.5") for n in (7, 8, 9)] == [401, 401, 429]


def test_without_a_password_a_browser_is_asked_for_one(client):
    answer = client.get("/login_basic", headers={"Sec-Fetch-Mode": "navigate"})

    assert answer.status_code == 401
    assert "Basic" in answer.headers["WWW-Authenticate"]


def test_the_documentation_page_opens_no_password_dialog(client):
    answer = client.post("/v4/needs/ADMIN", headers={"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"})

    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="storage-api"'


@pytest.mark.parametrize("half", [{}, {"basic_auth_username": "svc"}, {"basic_auth_password": "x"}], ids=str)
def test_basic_is_disabled_unless_name_and_password_are_set(redis_client, half):
    client = build(redis_client, **half).test_client()

    assert client.get("/login_basic", headers=GOOD).status_code == 404
    assert client.get("/conf/me/roles", headers=GOOD).status_code == 401
    assert client.get("/conf/me/roles", headers=basic("", "")).status_code == 401


def test_roles_of_the_basic_user_can_be_restricted(redis_client):
    client = build(redis_client, **SETTINGS, basic_auth_roles="USER, ADMIN").test_client()

    assert roles_of(client, headers=GOOD) == {"USER", "ADMIN"}


def test_a_role_without_groups_is_not_given_to_the_basic_user(redis_client):
    client = build(redis_client, **(SETTINGS | {"role_uber_admin_groups": ()})).test_client()

    assert roles_of(client, headers=GOOD) == {"USER", "ADMIN"}
    refused = client.post("/v4/needs/UBER_ADMIN", headers=GOOD).get_json()
    assert (refused["code"], refused["role"]) == ("missing-role", "UBER_ADMIN")
    texts = "This service has no group for that role, so nobody has it."
    assert texts in refused["detail"]
    few = build(redis_client, **SETTINGS, basic_auth_roles="USER").test_client()
    assert texts not in few.post("/v4/needs/UBER_ADMIN", headers=GOOD).get_json()["detail"]


@pytest.mark.parametrize("changed", [{"basic_auth_password": ""}, {"basic_auth_username": "other"}], ids=str)
def test_a_basic_session_ends_when_the_user_is_no_longer_configured(client, redis_client, changed):
    client.get("/login_basic", headers=GOOD)
    same = build(redis_client, **SETTINGS).test_client()
    later = build(redis_client, **(SETTINGS | changed)).test_client()
    for process in (same, later):
        process.set_cookie("sapi_session", client.get_cookie("sapi_session").value)

    assert same.get("/whoami").get_json() == {"name": "svc", "roles": sorted(EVERY), "auth_method": "session"}
    who = later.get("/whoami").get_json()
    assert (who["roles"], who["auth_method"]) == (["USER"], "anonymous")
