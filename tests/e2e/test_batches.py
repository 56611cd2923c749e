"""Batches on the service as it ships: real workers carry them out, and every view shows them."""

from __future__ import annotations

import threading
from typing import Any

from tests.e2e.client import Client, Service

BATCHES = "/v4/batches"


def _creations(name: str, count: int) -> list[dict[str, Any]]:
    return [
        {"method": "POST", "path": f"/v4/dummy/volumes/{name}_{place}", "body": {"size_total": 2**30}}
        for place in range(count)
    ]


def test_all_members_are_done_and_reported_in_the_order_of_the_request(http: Client, name: str) -> None:
    answer = http.change("POST", BATCHES, {"name": name, "parallel": 4, "requests": _creations(name, 40)}, wait=25)
    assert answer.status_code == 200, answer.text
    assert [row["value"]["name"] for row in answer.json()] == [f"{name}_{place}" for place in range(40)]
    assert {row["status"] for row in answer.json()} == {201}
    listed = http.get("/v4/dummy/volumes", params={"name": f"{name}_*"}).json()
    assert len(listed) == 40


def test_for_each_uses_the_cached_listing(http: Client, name: str) -> None:
    http.change("POST", BATCHES, {"requests": _creations(name, 3)}, wait=25)
    order = {
        "for_each": {"subsystem": "dummy", "where": f"name={name}_*"},
        "request": {"method": "POST", "path": "/v4/dummy/volumes/{name}/snapshots/pre"},
    }
    batch = http.ended(http.submit("POST", BATCHES, order)["id"])
    assert (batch["state"], batch["children"]["succeeded"]) == ("succeeded", 3)
    assert batch["request"]["chosen"] == [f"{name}_{place}" for place in range(3)]
    for place in range(3):
        snapshots = http.get(f"/v4/dummy/volumes/{name}_{place}/snapshots").json()
        assert [snapshot["name"] for snapshot in snapshots] == ["pre"]


def test_changes_of_one_volume_are_made_in_order(http: Client, volume: str) -> None:
    path = f"/v4/dummy/volumes/{volume}"
    requests = [{"method": "PATCH", "path": path, "body": {"size_total": (2 + place) * 2**30}} for place in range(8)]
    answer = http.change("POST", BATCHES, {"requests": requests}, wait=25)
    assert [row["value"]["size_total"] for row in answer.json()] == [(2 + place) * 2**30 for place in range(8)]
    assert http.get(path).json()["size_total"] == 9 * 2**30


def test_a_failure_cancels_members_that_have_not_begun(http: Client, volume: str, name: str) -> None:
    requests = [{"method": "DELETE", "path": f"/v4/dummy/volumes/{name}_none"}, *_creations(name, 30)]
    batch = http.ended(http.submit("POST", BATCHES, {"on_failure": "stop", "parallel": 1, "requests": requests})["id"])
    assert (batch["state"], batch["error"]["code"]) == ("failed", "batch-failed")
    assert batch["error"]["errors"][0]["pointer"] == "/requests/0"
    assert batch["children"]["cancelled"] == 30
    result = http.get(batch["links"]["result"])
    assert [row["problem"]["code"] for row in result.json()] == ["no-such-volume", *["job-cancelled"] * 30]


def test_simultaneous_requests_with_one_key_make_one_batch(http: Client, service: Service, name: str) -> None:
    answers: list[str] = []

    def send() -> None:
        client = Client(service.url)
        client.cookies.update(http.cookies)
        answers.append(
            client.submit("POST", BATCHES, {"requests": _creations(name, 20)}, **{"Idempotency-Key": name})["id"]
        )

    senders = [threading.Thread(target=send) for _ in range(6)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(40)
    assert len(answers) == 6
    assert len(set(answers)) == 1
    assert http.ended(answers[0])["children"]["succeeded"] == 20
    made = http.get("/v4/jobs", params={"operation": "create_volume", "batch": answers[0]}).json()
    assert len(made) == 20


def test_a_batch_is_a_task_in_flower(http: Client, service: Service, name: str) -> None:
    batch = http.ended(http.submit("POST", BATCHES, {"requests": _creations(name, 2)})["id"])
    for _ in range(100):
        response = http.get(f"{service.flower}/api/task/info/{batch['id']}")
        if response.status_code == 200 and response.json()["state"] == "SUCCESS":
            break
        threading.Event().wait(0.1)
    assert response.json()["name"] == "storage.batch"
    assert response.json()["state"] == "SUCCESS"
