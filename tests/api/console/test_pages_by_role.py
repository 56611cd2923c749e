"""Who may see which page, and what of it: each route of the console by each role."""

from __future__ import annotations

import re

import pytest

from tests.api.console.routes import ACTION_ROLES, ANYONE, PAGES, as_one, may, routes_of
from tests.api.front_end import FrontEnd, accepted
from worker.catalog.operations import Role
from worker.jobs.query import key_of

_CALLERS: list[tuple[Role, ...]] = [(), (Role.USER,), (Role.USER, Role.ADMIN), (Role.USER, Role.UBER_ADMIN)]
_VALUES = {
    "subsystem": "filer", "path:volume": "db01", "path:policy": "default", "kind": "csv", "name": "console.css",
    "job_id": "01990b7e-6c1e-7c55-9d0a-4b7c2f6e1a90", "action": "cancel",
}  # fmt: skip


def test_every_route_is_in_the_table(front_end: FrontEnd) -> None:
    assert routes_of(front_end) == {(method, as_one(rule)) for method, rule in PAGES}


@pytest.mark.parametrize("roles", _CALLERS, ids=lambda roles: "+".join(roles) or "nobody")
def test_each_page_requires_its_role(front_end: FrontEnd, filled: str, roles: tuple[Role, ...]) -> None:
    caller = front_end.client(*roles) if roles else front_end.stranger()
    for (method, rule), access in PAGES.items():
        path = re.sub(r"<([^>]+)>", lambda match: _VALUES[match[1]], rule)
        with caller.open(path, method=method) as answer:
            is_allowed = may(roles, access, signed_in=bool(roles))
            is_refused = answer.status_code == (403 if roles else 401)
            assert is_refused is not is_allowed, (method, path, answer.status_code)
            # Here, too, a client learns how to sign in.
            assert ("WWW-Authenticate" in answer.headers) is (answer.status_code == 401), (method, path)
            if is_refused and roles:
                assert str(access) in answer.get_data(as_text=True), (method, path)


@pytest.mark.parametrize("roles", _CALLERS[1:], ids="+".join)
def test_actions_without_the_role_are_not_offered(front_end: FrontEnd, filled: str, roles: tuple[Role, ...]) -> None:
    page = front_end.client(*roles).get(f"/console/filer/volumes/{filled}").text
    linked = set(re.findall(r"/volume-actions/([a-z-]+)/", page))
    offered = {name for name, role in ACTION_ROLES.items() if role in roles} - {"lock"}
    # Only one host can hold the lock, and one does.
    assert linked == offered
    for role in {Role.ADMIN, Role.UBER_ADMIN} - set(roles):
        assert re.search(rf"needs? .*{role}\b", page)


def test_anonymous_pages_do_not_link_the_event_stream(redis_url: str) -> None:
    open_to_all = FrontEnd(redis_url, user_groups=())
    for caller, is_led in ((open_to_all.client(Role.USER), True), (open_to_all.stranger(), False)):
        assert ('data-url="/v4/events?' in caller.get("/console/").text) is is_led


def test_a_wrong_password_counts_once_for_each_page(front_end: FrontEnd, redis_client) -> None:
    pages = [rule for (method, rule), access in PAGES.items() if method == "GET" and access != ANYONE]
    assert len(pages) > 10
    for page in (*pages, "/", "/v4/jobs"):
        redis_client.flushdb()
        path = re.sub(r"<([^>]+)>", lambda match: _VALUES[match[1]], page)
        front_end.stranger().get(path, auth=("ann", "wrong"), headers={"Accept": "text/html"})
        counters = redis_client.keys("sapi:attempts:*")
        assert [int(redis_client.get(name)) for name in counters] == [1, 1], path


@pytest.mark.parametrize("path", ["/v4/jobs", f"/v4/jobs/{_VALUES['job_id']}"])
def test_a_browser_that_asks_for_jobs_learns_how_to_sign_in(front_end: FrontEnd, path: str) -> None:
    answer = front_end.stranger().get(path, headers={"Accept": "text/html"})
    assert (answer.status_code, answer.mimetype) == (401, "text/html")
    assert "Bearer" in answer.headers["WWW-Authenticate"]
    assert "<h1>Not signed in</h1>" in answer.text


def test_the_job_of_another_user_is_not_found(front_end: FrontEnd, client, redis_client) -> None:
    job = accepted(client.post("/v4/filer/volumes/secret1", json={})).rpartition("/")[2]
    redis_client.hset(f"sapi:job:{job}", mapping={"requester": "somebody-else", "requester_key": "x"})
    user = front_end.client(Role.USER)
    for answer in (
        user.get(f"/console/jobs/{job}"),
        user.get(f"/v4/jobs/{job}", headers={"Accept": "text/html"}),
        *(user.post(f"/console/jobs/{job}/{action}") for action in ("cancel", "retry", "settle")),
    ):
        assert answer.status_code == 404
        assert "secret1" not in answer.text


@pytest.mark.parametrize(
    ("roles", "sees_others"),
    [((Role.USER,), False), ((Role.USER, Role.ADMIN), True), ((Role.USER, Role.UBER_ADMIN), True)],
    ids=["USER", "ADMIN", "UBER_ADMIN"],
)
def test_the_latest_changes_are_own_or_all_by_role(
    front_end: FrontEnd, client, redis_client, roles: tuple[Role, ...], sees_others: bool
) -> None:
    others = accepted(client.post("/v4/filer/volumes/other1", json={})).rpartition("/")[2]
    redis_client.hset(f"sapi:job:{others}", mapping={"requester": "bob", "requester_key": key_of("bob")})
    for key in redis_client.keys(f"sapi:index*requester:{key_of('basic ann')}*"):
        redis_client.rename(key, key.replace(key_of("basic ann").encode(), key_of("bob").encode()))
    own = accepted(client.post("/v4/filer/volumes/own1", json={})).rpartition("/")[2]
    latest = front_end.client(*roles).get("/console/").text.partition('id="jobs"')[2].partition("</section>")[0]
    assert (own in latest, others in latest) == (True, sees_others)
