"""The NetApp back-end through the whole service: HTTP, Redis, a worker, and a simulated cluster's REST interface."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.e2e.client import Client, Service, problem
from tests.e2e.conftest import PASSWORD
from tests.ontap_simulator.server import Simulator
from tests.ontap_simulator.world import full_rule

URL = "/v4/netapp/volumes"


@pytest.fixture
def netapp_volume(http: Client, name: str) -> str:
    """A volume of this test alone, on the filer."""
    made = http.change("POST", f"{URL}/{name}", {"size_total": 2**30, "junction_path": f"/{name}"}, wait=25)
    assert made.status_code == 201, made.text
    return name


def test_the_filer_is_ready_and_listed(http: Client) -> None:
    assert http.get("/readyz").json()["subsystems"]["netapp"]["status"] == "available"
    names = [record["name"] for record in http.get(URL, headers={"Prefer": "wait=20"}).json()]
    assert {f"vol{number:05}" for number in range(30)} <= set(names)


def test_life_of_a_volume(http: Client, filer: Simulator, netapp_volume: str) -> None:
    path = f"{URL}/{netapp_volume}"
    before = len(filer.world.effects)
    changed = http.change("PATCH", path, {"size_total": 2**31, "max_autosize": 2**33}, wait=25)
    assert changed.status_code == 200, changed.text
    assert abs(changed.json()["size_total"] - 2**31) < 2**20
    assert http.get(path).json()["max_autosize"] == 2**33
    assert len(filer.world.effects) > before
    assert http.change("POST", f"{path}/snapshots/s1", {}, wait=25).status_code == 201
    clone = http.change("POST", f"{path}_c", {"from_volume": netapp_volume, "from_snapshot": "s1"}, wait=25)
    assert clone.status_code == 201, clone.text
    assert [s["name"] for s in http.get(f"{path}/snapshots").json()] == ["s1"]
    problem(http.change("PUT", f"{path}/locks/db1", wait=25), 501, "not-supported")
    rolled = http.change("POST", path, {"from_snapshot": "s1"}, wait=25)
    assert rolled.status_code == 201, rolled.text
    assert http.change("DELETE", path, wait=25).status_code == 204
    problem(http.get(path, headers={"Prefer": "wait=20"}), 404, "no-such-volume")


def test_a_job_names_the_job_of_the_filer(http: Client, netapp_volume: str) -> None:
    job = http.ended(http.submit("PATCH", f"{URL}/{netapp_volume}", {"size_total": 2**31})["id"])
    assert job["state"] == "succeeded"
    assert job["backend_job"]


def test_export_policies(http: Client, name: str) -> None:
    path = f"/v4/netapp/export/{name}"
    assert http.change("POST", path, {"rules": ["10.0.0.0/8", "@hosts"]}).status_code == 201
    assert http.change("PUT", f"{path}/rule/db1.example.org").json()["rules"] == [
        "10.0.0.0/8",
        "@hosts",
        "db1.example.org",
    ]
    assert http.change("DELETE", f"{path}/rule/@hosts").status_code == 204
    policy = http.get(path).json()
    assert policy["rules"] == ["10.0.0.0/8", "db1.example.org"]
    assert [rule["clients"] for rule in policy["details"]] == [["10.0.0.0/8"], ["db1.example.org"]]
    assert http.change("DELETE", path).status_code == 204


def test_the_error_of_the_filer_is_quoted(http: Client, netapp_volume: str) -> None:
    answer = http.change("PATCH", f"{URL}/{netapp_volume}", {"active_policy_name": "no_such_policy"}, wait=25)
    assert answer.status_code in (404, 422), answer.text
    assert answer.json()["backend_error"]["code"].isdigit()
    assert "127.0.0.1" not in answer.text


def test_the_password_of_the_filer_is_in_no_log_or_key(http: Client, service: Service, netapp_volume: str) -> None:
    """Not in any process's environment or command line, not in the logs or the data; in the workers' own file alone."""
    http.change("DELETE", f"{URL}/{netapp_volume}", wait=25)
    secrets = [PASSWORD.encode(), base64.b64encode(f"storage-api:{PASSWORD}".encode()), PASSWORD[-32:].encode()]
    names = []
    for path in (
        *service.folder.rglob("*"),
        *Path("/proc").glob("[0-9]*/environ"),
        *Path("/proc").glob("[0-9]*/cmdline"),
    ):
        try:
            content = path.read_bytes() if path.is_file() else b""
        except OSError:
            continue
        if any(secret in content for secret in secrets):
            names.append(path.name)
    assert names == ["backends.toml"]


def test_a_vserver_that_was_renamed_hides_nothing(http: Client, filer: Simulator, netapp_volume: str) -> None:
    """The good copy stays, a look-up says that the filer is away, and a creation is not called undone."""
    before = {record["name"] for record in http.get(URL, headers={"Prefer": "wait=20"}).json()}
    vserver = filer.world.vserver
    filer.world.rename_vserver(vserver, f"{vserver}-mc")
    try:
        fresh = {"Cache-Control": "no-cache", "Prefer": "wait=1"}
        answer = http.get(URL, headers=fresh)
        assert answer.status_code in {202, 503}, answer.text
        copy = http.get(URL)
        assert copy.status_code == 200
        assert {record["name"] for record in copy.json()} == before
        looked_up = http.get(f"{URL}/not_there", headers=fresh)
        assert looked_up.status_code in {202, 503}, looked_up.text
        if looked_up.status_code == 202:
            waiting = http.get(looked_up.headers["Location"]).json()
            assert waiting["queue"]["waiting_reason"] in {"backend-unavailable", None}
    finally:
        filer.world.rename_vserver(f"{vserver}-mc", vserver)
    problem(http.get(f"{URL}/not_there", headers={"Prefer": "wait=25"}), 404, "no-such-volume")


def test_a_rule_is_revoked_under_every_spelling(http: Client, filer: Simulator, name: str) -> None:
    path = f"/v4/netapp/export/{name}"
    assert http.change("POST", path, {"rules": ["2001:db8::1", "10.0.0.0/8"]}).status_code == 201
    assert http.change("PUT", f"{path}/rule/2001:0DB8:0::1").json()["rules"] == ["2001:db8::1", "10.0.0.0/8"]
    assert http.change("DELETE", f"{path}/rule/2001:0db8::0:1").status_code == 204
    assert http.get(path).json()["rules"] == ["10.0.0.0/8"]
    (policy,) = [one for one in filer.world.policies.values() if one["name"] == name]
    assert [client["match"] for rule in policy["rules"] for client in rule["clients"]] == ["10.0.0.0/8"]


def test_a_rule_with_fewer_rights_is_a_conflict(http: Client, filer: Simulator, name: str) -> None:
    policy = filer.world.add_policy(filer.world.vserver, name, [])
    policy["rules"] = [full_rule(5, ["h"], rw_rule=["never"], superuser=["none"])]
    refused = problem(http.change("PUT", f"/v4/netapp/export/{name}/rule/H", wait=25), 409, "resource-busy")
    assert refused["retryable"] is False
    assert "ule 5 (h: ro sys, rw never" in refused["detail"]


def test_a_mirror_is_shown_and_never_changed(http: Client, filer: Simulator, name: str) -> None:
    filer.world.add_volume(name, type="dp")
    headers = {"Cache-Control": "no-cache", "Prefer": "wait=20"}
    assert http.get(f"{URL}/{name}", headers=headers).json()["type"] == "dp"
    for method, body in (("PATCH", {"comment": "mine"}), ("DELETE", None)):
        problem(http.change(method, f"{URL}/{name}", body, wait=25), 409, "not-a-data-volume")
