"""If-Match and If-Unmodified-Since: evaluated for reads of every kind, refused by everything that changes something."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.front_end import FrontEnd, Worker, accepted, problem

LONG_AGO = "Thu, 01 Jan 1970 00:00:00 GMT"
LATER = "Fri, 01 Jan 2100 00:00:00 GMT"
VOLUMES = "/v4/filer/volumes"


@pytest.fixture
def job(client: Any, worker: Worker) -> str:
    """A read of the volumes that has ended."""
    path = accepted(client.get(VOLUMES, headers={"Prefer": "respond-async"}))
    worker.carry_out(path)
    return path


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("kind", ["collection", "object", "job", "result"])
def test_if_match_is_evaluated_for_reads(client: Any, job: str, kind: str, method: str):
    name = client.get(VOLUMES).json[0]["name"]
    url = {"collection": f"{VOLUMES}?limit=2", "object": f"{VOLUMES}/{name}", "job": job, "result": f"{job}/result"}
    tag = client.get(url[kind]).headers["ETag"]

    def status(**headers: str) -> int:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return int(client.open(url[kind], method=method, headers=sent).status_code)

    assert [status(If_Match=match) for match in (tag, f'"other", {tag}', "*")] == [200] * 3
    # A weak tag never matches.
    assert [status(If_Match=match) for match in ('"other"', f"W/{tag}")] == [412] * 2
    # It goes before the other conditions.
    assert status(If_Match='"other"', If_None_Match=tag) == 412
    assert status(If_Match=tag, If_None_Match=tag) == 304
    assert status(If_Match=tag, If_Unmodified_Since=LONG_AGO) == 200


def test_if_unmodified_since_is_evaluated_for_reads(client: Any, job: str):
    def status(since: str) -> int:
        return int(client.get(VOLUMES, headers={"If-Unmodified-Since": since}).status_code)

    assert client.get(job).json["state"] == "succeeded"
    assert [status(LATER), status(client.get(VOLUMES).headers["Last-Modified"]), status("soon")] == [200] * 3
    # No year that a date may have.
    assert status(LATER.replace("2100", "9" * 11)) == 200
    problem(client.get(VOLUMES, headers={"If-Unmodified-Since": LONG_AGO}), 412, "precondition-failed")
    # Nobody knows since when a job has been as it is.
    assert client.get(job, headers={"If-Unmodified-Since": LONG_AGO}).status_code == 200


def test_a_response_without_etag_matches_no_tag(client: Any):
    assert client.get("/v4/jobs", headers={"If-Match": "*"}).status_code == 200
    problem(client.get("/v4/jobs", headers={"If-Match": '"a"'}), 412, "precondition-failed")


def test_a_stream_with_a_failed_precondition_does_not_count_towards_the_limit(redis_client: Any, redis_url: str):
    client = FrontEnd(redis_url, max_streams=1).client()
    for _ in range(2):
        problem(client.get("/v4/events", headers={"If-Match": '"a"'}), 412, "precondition-failed")


def test_a_refused_read_takes_precedence_over_the_precondition(client: Any):
    headers = {"If-Match": '"a"'}
    problem(client.get("/v4/filer/volumes?no_field=1", headers=headers), 422, "validation-failed")
    assert client.get(VOLUMES, headers=headers | {"Prefer": "respond-async"}).status_code == 202


@pytest.mark.parametrize("condition", [{"If-Match": '"1"'}, {"If-Unmodified-Since": LATER}])
def test_conditional_changes_are_refused(client: Any, front_end: FrontEnd, condition: dict[str, str]):
    queued = accepted(client.post(f"{VOLUMES}/a/snapshots/s"))
    cancelled = accepted(client.post(f"{VOLUMES}/b/snapshots/s"))
    assert client.post(f"{cancelled}/cancel").json["state"] == "cancelled"
    ids = {"id": ",".join(path.rpartition("/")[2] for path in (queued, cancelled))}
    requests = [
        (f"{queued}/cancel", None), (f"{cancelled}/retry", None), ("/v4/jobs/cancel", ids), ("/v4/jobs/retry", ids),
        (f"{queued}/settle", {"outcome": "failed"}), ("/conf/sessions/eve/end", None), (f"{VOLUMES}/c", {}),
    ]  # fmt: skip
    for url, body in requests:
        problem(client.post(url, json=body, headers=condition), 412, "precondition-failed")
    assert [job["state"] for job in client.get("/v4/jobs").json] == ["cancelled", "queued"]
