"""What every client may read of the configuration."""

from __future__ import annotations

import pytest

from tests.api.auth.auth_app import GROUPS, build

ROLES = ["USER", "ADMIN", "UBER_ADMIN"]


@pytest.fixture
def client(redis_client):
    return build(redis_client, **GROUPS).test_client()


def test_roles(client):
    assert client.get("/conf/roles").get_json() == ROLES


def test_groups_of_a_role(client):
    assert client.get("/conf/roles/USER/egroups").get_json() == []
    assert client.get("/conf/roles/ADMIN/egroups").get_json() == ["it db, admins"]


def test_am_i_a_tells_whether_the_caller_has_the_role(client):
    assert client.get("/conf/roles/USER/am_i_a").get_json() is True
    assert client.get("/conf/roles/ADMIN/am_i_a").get_json() is False


def test_my_roles(client):
    assert client.get("/conf/me/roles").get_json() == ["USER"]


def test_my_roles_are_in_the_order_of_all_roles(redis_client):
    client = build(redis_client, debug=True).test_client()
    client.get("/login")
    assert client.get("/conf/me/roles").get_json() == ROLES


@pytest.mark.parametrize("role", ["ROOT", "user", "USER_ROLE", "%00", "..", "<b>"])
@pytest.mark.parametrize("rest", ["egroups", "am_i_a"])
def test_there_is_no_such_role(client, role, rest):
    answer = client.get(f"/conf/roles/{role}/{rest}")

    assert answer.status_code == 404
    if role != "..":
        assert answer.get_json()["code"] == "not-found"


@pytest.mark.parametrize("path", ["subsystems", "roles", "roles/ADMIN/egroups", "roles/ADMIN/am_i_a", "me/roles"])
def test_there_are_no_query_parameters(client, path):
    answer = client.get(f"/conf/{path}?role=ADMIN")

    assert (answer.status_code, answer.get_json()["code"]) == (422, "validation-failed")
    assert answer.get_json()["errors"] == [{"pointer": "/role", "detail": "unknown query parameter"}]


@pytest.mark.parametrize("path", ["/login?nxt=/", "/login?next=/a&next=/b", "/logout?x=", "/logout?next=/&all=1"])
def test_signing_in_takes_the_next_path_only(client, path):
    assert client.get(path).status_code == 422
