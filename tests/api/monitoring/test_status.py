"""The overview of the console: what it shows of the service, and to whom."""

from __future__ import annotations

import json
import re
import time
from html import unescape

import pytest

from api.monitoring import service_status
from api.resources.status import duration
from tests.api.front_end import FrontEnd, accepted
from worker.catalog.operations import Role
from worker.store.metrics import totals


def _text(response) -> str:
    """The words of a page, as one reads them."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", response.text)))


@pytest.fixture
def failed(client, worker) -> str:
    """The id of a job that the storage system has failed."""
    job = accepted(client.post("/v4/filer/volumes/dup"))
    worker.fail(job, "backend-error")
    return job.rpartition("/")[2]


def test_it_shows_queues_listings_workers_and_filers(front_end, client, worker, redis_client):
    worker.carry_out(accepted(client.get("/v4/filer/volumes", headers={"Prefer": "respond-async"})))
    accepted(client.post("/v4/filer/volumes/waits"))
    front_end.services.scripts.worker_heartbeat("quick1@host", {"filer.write": 8})
    redis_client.set("sapi:health:filer", '{"status": "unavailable", "detail": "No answer."}')
    page = client.get("/console/")
    assert page.status_code == 200
    assert page.content_type == "text/html; charset=utf-8"
    text = _text(page)
    assert re.search(r"filer\.write 1 \d+ m?s", text)
    assert "in 12 volumes" in text
    assert "quick1@host filer.write" in text
    assert "1 waiting" in text
    assert "filer unavailable No answer." in text
    assert "The storage system filer cannot be used." in text
    assert "No worker serves other.list" in text


def test_it_says_that_all_is_well(front_end, client, redis_client):
    queues = [f"{name}.{queue_class}" for name in ("filer", "other") for queue_class in ("write", "read", "list")]
    front_end.services.scripts.worker_heartbeat("one@host", dict.fromkeys(queues, 8))
    redis_client.set("sapi:breaker:filer:one@host", "closed")
    text = _text(client.get("/console/"))
    assert "All is well" in text
    assert "1 worker online" in text
    redis_client.set("sapi:breaker:filer:one@host", "half-open")
    assert "Some workers could not reach filer lately" in _text(client.get("/console/"))


def test_a_long_wait_is_reported(front_end, client, redis_client):
    job = accepted(client.post("/v4/filer/volumes/waits")).rpartition("/")[2]
    front_end.services.scripts.worker_heartbeat("one@host", {"filer.write": 8})
    created = int(redis_client.hget(f"sapi:job:{job}", "created"))
    redis_client.hset(f"sapi:job:{job}", "created", created - 3_600_000)
    assert re.search(r"A job has waited in filer\.write for 1 h\b", _text(client.get("/console/")))


def test_a_failure_is_shown_completely_to_clients_that_may_see_the_job(front_end, client, failed):
    # Its requester may, with whatever role they have by now.
    assert f"/console/jobs/{failed}" in front_end.client(Role.USER).get("/console/").text.partition('id="failures"')[2]
    page = client.get("/console/")
    assert f"/console/jobs/{failed}" in page.text
    text = _text(page)
    assert "backend-error" in text
    assert "filer/volumes/dup" in text
    assert re.search(r"\bann\b.*Recent failures.*\bann\b", text)


def test_of_jobs_of_others_only_operation_and_code_are_shown(front_end, failed, redis_client):
    redis_client.hset(f"sapi:job:{failed}", mapping={"requester": "somebody-else", "requester_key": "x"})
    page = front_end.client(Role.USER).get("/console/")
    failures = page.text.partition('id="failures"')[2]
    assert "backend-error" in failures
    assert "Create volume" in failures
    for secret in ("somebody-else", failed, "volumes/dup"):
        assert secret not in failures


def test_anonymous_clients_see_no_names_of_hosts_receivers_and_objects(redis_url, redis_client):
    front_end = FrontEnd(redis_url, user_groups=())
    read = accepted(front_end.client().get("/v4/filer/volumes/secret1", headers={"Prefer": "respond-async"}))
    front_end.worker().fail(read, "backend-error")
    for node in ("quick1@host", "ending1@host"):
        front_end.services.scripts.worker_heartbeat(node, {"filer.write": 8})
    redis_client.zadd("sapi:draining", {"ending1@host": 2**52})
    redis_client.sadd("sapi:webhook_targets", "receiver1")
    for caller, is_named in ((front_end.stranger(), False), (front_end.client(Role.USER), True)):
        text = _text(caller.get("/console/"))
        assert "backend-error" in text
        named = [name in text for name in ("secret1", "quick1@host", "ending1@host", "receiver1")]
        assert named == [is_named] * 4


def test_a_receiver_that_has_just_failed_is_reported(front_end, redis_client):
    redis_client.sadd("sapi:webhook_targets", "receiver1")
    redis_client.hset("sapi:webhook_state:receiver1", "failing_since", int(redis_client.time()[0]) * 1000 + 999)
    (receiver,) = service_status.webhooks(front_end.services)
    assert 0 < receiver.failing_s < 60
    assert "cannot be reached" not in _text(front_end.client().get("/console/"))
    redis_client.hset("sapi:webhook_state:receiver1", "failing_since", (int(redis_client.time()[0]) - 630) * 1000)
    text = _text(front_end.client().get("/console/"))
    assert re.search(r"receiver1 \d+ has failed for 1[01] min", text)
    assert re.search(r"\b1 receiver of webhooks cannot be reached, for 1[01] min", text)
    redis_client.sadd("sapi:webhook_targets", "receiver2")
    redis_client.hset("sapi:webhook_state:receiver2", "failing_since", (int(redis_client.time()[0]) - 7265) * 1000)
    text = _text(front_end.client().get("/console/"))
    assert "2 receivers of webhooks cannot be reached, the longest for 2 h 1 min." in text


def test_with_user_groups_the_role_user_is_required(front_end):
    stranger = front_end.stranger().get("/console/")
    assert stranger.status_code == 401
    assert "WWW-Authenticate" in stranger.headers
    assert 'href="/login?next=%2Fconsole%2F"' in stranger.text
    assert "filer" not in stranger.text
    assert front_end.client(Role.ADMIN).get("/console/").status_code == 403
    assert front_end.client(Role.USER).get("/console/").status_code == 200


def test_names_and_messages_are_escaped(client, redis_client):
    redis_client.set("sapi:health:filer", '{"status": "unavailable", "detail": "<script>alert(1)</script>"}')
    page = client.get("/console/").text
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_it_loads_scripts_of_this_service_only(client, failed):
    page = client.get("/console/")
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert not re.search(r"<script>|javascript:|\son[a-z]+=|style=|https?://", page.text)
    assert page.headers["Cache-Control"] == "no-store"
    with client.get("/console/assets/console.css") as style:
        assert style.content_type.startswith("text/css")


def test_without_redis_it_says_so():
    page = FrontEnd("redis://127.0.0.1:1/0").client().get("/console/")
    assert page.status_code == 503
    assert page.headers["Retry-After"]
    assert "Redis is unavailable" in _text(page)


def test_the_latest_failures_are_shown_first_and_not_too_many(front_end, client, worker, failed):
    later = accepted(client.post("/v4/filer/volumes/later"))
    worker.fail(later, "backend-error")
    shown = [[status.job.id for status in service_status.recent_failures(front_end.services, most)] for most in (1, 2)]
    assert shown == [[later.rpartition("/")[2]], [later.rpartition("/")[2], failed]]


def test_the_last_hundred_failures_are_remembered(front_end, client, worker, redis_client):
    redis_client.rpush("sapi:failures", *range(100))
    worker.fail(accepted(client.delete("/v4/filer/volumes/here")), "worker-lost")
    assert redis_client.llen("sapi:failures") == 100
    assert "worker-lost" in client.get("/console/").text


def test_the_intervals_of_the_last_day_are_consecutive(front_end, redis_client):
    none = totals({})
    for at, count in ((1000, 0), (1300, 7), (1600, 0)):
        redis_client.lpush("sapi:metrics_history", json.dumps({"at": at, **dict.fromkeys(none, count)}))
    intervals = service_status.history(front_end.services)
    assert [(each["from"], each["at"]) for each in intervals[:2]] == [(1000, 1300), (1300, 1600)]
    assert intervals[2]["from"] == 1600
    # Counters that were lost began anew.
    counted = [{value for name, value in each.items() if name not in ("from", "at")} for each in intervals]
    assert counted == [{7}, {0}, {0}]
    assert intervals[2]["at"] == pytest.approx(time.time(), abs=60)


def test_a_worker_that_has_shut_down_is_not_listed_as_draining(front_end, redis_client):
    redis_client.zadd("sapi:draining", {"one@host": 1, "two@host": time.time() * 1000})
    assert service_status.draining(front_end.services) == ["two@host"]


def test_refused_requests_are_no_failures_of_the_service(client, worker):
    worker.carry_out(accepted(client.delete("/v4/filer/volumes/never-there")))
    assert "no-such-volume" not in client.get("/console/").text.partition('id="failures"')[2]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (0.4, "0 s"), (61, "1 min 1 s"), (3600, "1 h"), (90_061, "1 day 1 h"), (200_000, "2 days 7 h")],
)
def test_durations_are_written_in_their_largest_units(seconds, words):
    assert duration(seconds) == words


def test_the_former_path_redirects_to_the_console(client):
    answer = client.get("/status")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/console/")
