"""Who may see which page, and what of it: each route of the console by each role."""

from __future__ import annotations

import re

import pytest

from tests.api.front import Front, accepted
from worker.catalog.operations import Role

_ANYONE, _SIGNED_IN = "anyone", "signed in"
#: By rule and method: the role that it asks for, and an address to ask with.
_ACTION_ROLES = {
    "snapshot": Role.ADMIN, "delete-snapshot": Role.ADMIN, "clone": Role.ADMIN, "roll-back": Role.ADMIN,
    "lock": Role.ADMIN, "change": Role.UBER_ADMIN, "restrict": Role.UBER_ADMIN, "unlock": Role.UBER_ADMIN,
}  # fmt: skip
_PAGES = {
    ("GET", "/console/"): Role.USER,
    ("GET", "/console"): Role.USER,
    ("GET", "/console/assets/<name>"): _ANYONE,
    ("GET", "/console/jobs"): _SIGNED_IN,
    ("GET", "/console/jobs/<job_id>"): _SIGNED_IN,
    ("POST", "/console/jobs/<job_id>/<action>"): _SIGNED_IN,
    ("GET", "/console/<subsystem>/volumes"): Role.USER,
    ("GET", "/console/<subsystem>/volumes.<kind>"): Role.USER,
    ("GET", "/console/<subsystem>/volumes/<path:volume>"): Role.USER,
    ("GET", "/console/<subsystem>/capacity"): Role.USER,
    ("GET", "/console/<subsystem>/export"): Role.ADMIN,
    ("GET", "/console/<subsystem>/export/<path:policy>"): Role.ADMIN,
    ("POST", "/console/<subsystem>/policy-actions/<action>/<path:policy>"): Role.ADMIN,
    ("GET", "/console/<subsystem>/new-policy"): Role.ADMIN,
    ("POST", "/console/<subsystem>/new-policy"): Role.ADMIN,
    ("GET", "/console/<subsystem>/new-volume"): Role.ADMIN,
    ("POST", "/console/<subsystem>/new-volume"): Role.ADMIN,
    ("GET", "/console/<subsystem>/snapshot-batch"): Role.ADMIN,
    ("POST", "/console/<subsystem>/snapshot-batch"): Role.ADMIN,
    ("GET", "/console/<subsystem>/restricted"): Role.UBER_ADMIN,
    ("POST", "/console/<subsystem>/restricted/<name>"): Role.UBER_ADMIN,
    **{
        ("GET", f"/console/<subsystem>/volume-actions/{name}/<path:volume>"): role
        for name, role in _ACTION_ROLES.items()
    },
    **{
        ("POST", f"/console/<subsystem>/volume-actions/{name}/<path:volume>"): role
        for name, role in _ACTION_ROLES.items()
    },
}
_CALLERS: list[tuple[Role, ...]] = [(), (Role.USER,), (Role.USER, Role.ADMIN), (Role.USER, Role.UBER_ADMIN)]
_VALUES = {
    "subsystem": "filer", "path:volume": "db01", "path:policy": "default", "kind": "csv", "name": "console.css",
    "job_id": "01990b7e-6c1e-7c55-9d0a-4b7c2f6e1a90", "action": "cancel",
}  # fmt: skip


def test_every_route_is_in_the_table(front: Front) -> None:
    rules = {
        (method, rule.rule)
        for rule in front.app().url_map.iter_rules()
        if rule.rule.startswith("/console")
        for method in (rule.methods or set()) & {"GET", "POST", "PUT", "PATCH", "DELETE"}
    }
    known = {(method, re.sub(r"volume-actions/[a-z-]+/", "volume-actions/<action>/", rule)) for method, rule in _PAGES}
    assert rules == known


@pytest.mark.parametrize("roles", _CALLERS, ids=lambda roles: "+".join(roles) or "nobody")
def test_each_page_asks_for_its_role(front: Front, filled: str, roles: tuple[Role, ...]) -> None:
    caller = front.client(*roles) if roles else front.stranger()
    for (method, rule), access in _PAGES.items():
        path = re.sub(r"<([^>]+)>", lambda match: _VALUES[match[1]], rule)
        with caller.open(path, method=method) as answer:
            may = access == _ANYONE or (bool(roles) and (access == _SIGNED_IN or access in roles))
            is_refused = answer.status_code == (403 if roles else 401)
            assert is_refused is not may, (method, path, answer.status_code)
            if is_refused and roles:
                assert str(access) in answer.get_data(as_text=True), (method, path)


@pytest.mark.parametrize("roles", _CALLERS[1:], ids="+".join)
def test_what_one_may_not_do_is_absent(front: Front, filled: str, roles: tuple[Role, ...]) -> None:
    page = front.client(*roles).get(f"/console/filer/volumes/{filled}").text
    shown = set(re.findall(r"/volume-actions/([a-z-]+)/", page))
    may = {name for name, role in _ACTION_ROLES.items() if role in roles} - {"lock"}
    # Only one host can hold the lock, and one does.
    assert shown == may
    for role in {Role.ADMIN, Role.UBER_ADMIN} - set(roles):
        assert re.search(rf"needs? .*{role}\b", page)


def test_somebody_elses_job_is_as_if_there_were_none(front: Front, client, redis_client) -> None:
    job = accepted(client.post("/v4/filer/volumes/secret1", json={})).rpartition("/")[2]
    redis_client.hset(f"sapi:job:{job}", mapping={"requester": "somebody-else", "requester_key": "x"})
    user = front.client(Role.USER)
    for answer in (
        user.get(f"/console/jobs/{job}"),
        user.get(f"/v4/jobs/{job}", headers={"Accept": "text/html"}),
        *(user.post(f"/console/jobs/{job}/{action}") for action in ("cancel", "retry", "settle")),
    ):
        assert answer.status_code == 404
        assert "secret1" not in answer.text
