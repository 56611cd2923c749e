"""Hosts and rules in canonical form: one job, one ordering key, one target, whatever the spelling."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from storage_backends.client_matches import canonical_match, covers
from tests.api.front_end import accepted, pointers, problem

SPELLINGS = [
    ("DB01.Example.org", "db01.example.org"),
    ("2001:0DB8:0::1", "2001:db8::1"),
    ("::ffff:192.0.2.7", "192.0.2.7"),
]


def record(client, response):
    return client.get(accepted(response)).json


@pytest.mark.parametrize(("written", "meant"), SPELLINGS)
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_host(client, front_end, method: str, written: str, meant: str):
    made = record(client, client.open(f"/v4/filer/volumes/db01/locks/{written}", method=method))

    assert made["target"] == f"/v4/filer/volumes/db01/locks/{meant}"
    assert made["request"] == {"volume": "db01", "host": meant}
    assert front_end.services.jobs.get(made["id"]).job.arguments["host"] == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [*SPELLINGS, ("10.1.2.3/255.255.0.0", "10.1.0.0/16"), ("@Net", "@Net"), ("*.D.org", "*.d.org")],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_rule(client, front_end, method: str, written: str, meant: str):
    address = f"/v4/filer/export/team/rule/{quote(written, safe='/:@')}"
    made = record(client, client.open(address, method=method))

    assert made["target"] == f"/v4/filer/export/team/rule/{meant}"
    assert front_end.services.jobs.get(made["id"]).job.arguments == {"policy": "team", "rule": meant}


def test_rules_of_a_new_policy(client, front_end):
    rules = ["B", "10.0.0.9/8", "b", "10.0.0.0/255.0.0.0", ".d", "*.d"]
    made = record(client, client.post("/v4/filer/export/team", json={"rules": rules}))
    assert front_end.services.jobs.get(made["id"]).job.arguments["rules"] == ["b", "10.0.0.0/8", ".d", "*.d"]


def test_every_spelling_has_one_key(client):
    key = {"Idempotency-Key": "k1"}
    first = client.put("/v4/filer/volumes/db01/locks/H1", headers=key)
    again = client.put("/v4/filer/volumes/db01/locks/h1", headers=key)
    assert (again.headers["Location"], again.headers["Idempotency-Replayed"]) == (first.headers["Location"], "true")
    problem(client.put("/v4/filer/volumes/db01/locks/h2", headers=key), 422, "idempotency-key-reused")
    key = {"Idempotency-Key": "k2"}
    first = client.post("/v4/filer/export/team", json={"rules": ["H1"]}, headers=key)
    again = client.post("/v4/filer/export/team", json={"rules": ["h1"]}, headers=key)
    assert again.headers["Location"] == first.headers["Location"]


@pytest.mark.parametrize("rule", ["10.0.0.0/0.0.0.255", "10.0.0.0/33", "fe80::1%eth0", "1.2.3.4/255.0.255.0"])
def test_an_invalid_network_is_refused(client, rule: str):
    problem(client.put(f"/v4/filer/export/team/rule/{quote(rule, safe='/:')}"), 422, "validation-failed")


def test_the_canonical_form_is_unchanged():
    for text in ("H", "2001:DB8::/32", "::ffff:10.0.0.0/104", "1.2.3.4/24", "@A", "*.X", "é", "", "a b", "0.0.0.0/0"):
        assert canonical_match(canonical_match(text)) == canonical_match(text)
    assert covers("10.0.0.0/8", "10.1.0.0/16")
    assert not covers("10.1.0.0/16", "10.0.0.0/8")
    assert not covers("@net", "h")
    assert not covers("2001:db8::/32", "10.0.0.1")


class TestRestricted:
    """Volumes that are out of service, over HTTP."""

    def test_a_restricted_volume_is_addressed_by_its_name(self, client, front_end):
        made = record(client, client.post("/v4/filer/restricted/db01/reinstate", json={"junction_path": "/back"}))
        assert (made["operation"], made["target"]) == ("reinstate_volume", "/v4/filer/restricted/db01/reinstate")
        job = front_end.services.jobs.get(made["id"]).job
        assert job.arguments == {"volume": "db01", "junction_path": "/back"}
        keys = json.loads(front_end.services.redis.hget(f"sapi:job:{job.id}", "keys"))
        assert keys == ["path:/back", "volume:db01"]

    def test_the_path_of_a_reinstatement_is_optional(self, client, front_end):
        made = record(client, client.post("/v4/filer/restricted/db01/reinstate"))
        keys = json.loads(front_end.services.redis.hget(f"sapi:job:{made['id']}", "keys"))
        assert keys == ["path:/db01", "volume:db01"]

    def test_a_restricted_volume_has_no_path(self, client):
        response = client.post("/v4/filer/restricted/node:/vol/db01/reinstate")
        assert pointers(problem(response, 422, "validation-failed")) == ["/volume"]

    def test_a_reinstatement_takes_no_other_field(self, client):
        response = client.post("/v4/filer/restricted/db01/reinstate", json={"size_total": 1})
        assert pointers(problem(response, 422, "validation-failed")) == ["/size_total"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("security_style", "unified"), ("unix_permissions", "755"), ("unix_permissions", 755), ("space_guarantee", "file"),
     ("tiering_policy", "snapshot_only"), ("comment", "x" * 1024), ("comment", "a\nb"), ("type", "rw"),
     ("qos_policy", "*"), ("snapshot_policy", "")],
)  # fmt: skip
def test_invalid_settings_are_refused(client, field: str, value: object):
    for method, address in (("POST", "/v4/filer/volumes/a"), ("PATCH", "/v4/filer/volumes/a")):
        response = client.open(address, method=method, json={field: value})
        assert pointers(problem(response, 422, "validation-failed")) == [f"/{field}"]


def test_settings_of_a_clone(client, front_end):
    body = {"from_volume": "old", "from_snapshot": "s", "active_policy_name": "team", "size_total": 5}
    made = record(client, client.post("/v4/filer/volumes/new", json=body))
    assert front_end.services.jobs.get(made["id"]).job.arguments == body | {"volume": "new"}
