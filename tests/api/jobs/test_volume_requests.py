"""A POST to a volume creates, clones or rolls back, as its fields say."""

from __future__ import annotations

import pytest

from tests.api.front_end import accepted, pointers, problem


def job(client, response):
    return client.get(accepted(response)).json


def test_without_a_source_a_volume_is_created(client):
    made = job(client, client.post("/v4/filer/volumes/db01", json={"size_total": 10, "name": "db01"}))
    assert made["operation"] == "create_volume"
    assert made["request"] == {"volume": "db01", "size_total": 10}


def test_a_path_in_the_url_is_the_junction_path(client, front_end):
    made = job(client, client.post("/v4/filer/volumes/node:/vol/db01", json={"name": "db01"}))
    assert front_end.services.jobs.get(made["id"]).job.arguments == {"volume": "db01", "junction_path": "/vol/db01"}


def test_with_a_snapshot_the_volume_is_rolled_back(client, front_end):
    made = job(client, client.post("/v4/filer/volumes/node:/vol/db01", json={"from_snapshot": "s1"}))
    accepted(client.post("/v4/filer/volumes/db01", json={"from_snapshot": "s1", "name": "db01"}))
    assert made["operation"] == "roll_back_volume"
    assert front_end.services.jobs.get(made["id"]).job.arguments == {"volume": "node:/vol/db01", "from_snapshot": "s1"}


def test_with_a_volume_and_a_snapshot_a_clone_is_made(client, front_end):
    body = {"from_snapshot": "s1", "from_volume": "node:/vol/old", "junction_path": "/vol/new", "size_total": 10**9}
    made = job(client, client.post("/v4/filer/volumes/new", json=body | {"name": "new"}))
    assert made["operation"] == "clone_volume"
    assert front_end.services.jobs.get(made["id"]).job.arguments == body | {"volume": "new"}


@pytest.mark.parametrize(
    ("address", "body", "wrong"),
    [
        ("db01", {"name": "db02"}, "/name"),
        ("db01", {"from_volume": "db00"}, "/from_snapshot"),
        ("db01", {"from_volume": "db00", "from_snapshot": "s1", "max_autosize": 1}, "/max_autosize"),
        ("db01", {"from_snapshot": "s1", "size_total": 1}, "/size_total"),
        ("db01", {"from_snapshot": "s1", "junction_path": "/a"}, "/junction_path"),
        ("db01", {"from_snapshot": "s1", "name": "db02"}, "/name"),
        ("n:/vol/db01", {}, "/name"),
        ("n:/vol/db01", {"name": "db01", "junction_path": "/vol/db02"}, "/junction_path"),
        ("db01", {"uuid": "1"}, "/uuid"),
        ("db01", {"junction_path": "vol"}, "/junction_path"),
        ("db01", {"from_snapshot": "s/1"}, "/from_snapshot"),
    ],
)
def test_contradictory_fields_are_refused(client, address, body, wrong):
    response = client.post(f"/v4/filer/volumes/{address}", json=body)
    document = problem(response, 422, "validation-failed")
    assert pointers(document) == [wrong]
    assert document["detail"].startswith(f"{wrong[1:]}: ")


def test_a_volume_cannot_be_renamed(client):
    response = client.patch("/v4/filer/volumes/db01", json={"name": "db02"})
    assert pointers(problem(response, 422, "validation-failed")) == ["/name"]


def test_the_target_of_a_job_is_its_url_with_normalized_hosts(client):
    for path, target in (("volumes/DB01", "volumes/DB01"), ("volumes/DB01/locks/NODE1", "volumes/DB01/locks/node1")):
        job = client.put(f"/v4/filer/{path}") if "locks" in path else client.post(f"/v4/filer/{path}")
        assert job.json["target"] == f"/v4/filer/{target}"
