"""How long changes are held, and what they are answered then."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from unittest.mock import Mock

import pytest
import redis

from api.v3 import changes
from api.v3.settings import EXTENSION
from tests.api.v3.conftest import WAIT_S
from tests.api.v3.pending_changes import pending
from worker.jobs.service import Jobs, NewJob
from worker.store.results import SubmitOutcome

GB = 10**9


def test_an_unfinished_change_is_504_and_matched_when_repeated(idle):
    job = pending(idle, "POST", "/dummy/volumes/v1", {"size_total": GB})
    assert idle.service.redis.hget(f"sapi:job:{job}", "target") == b"/v4/dummy/volumes/v1"
    assert pending(idle, "POST", "/dummy/volumes/v1", {"size_total": GB, "unknown": 1}) == job
    assert idle.service.waiting() == [job]
    idle.service.run(job)
    repeated = idle("POST", "/dummy/volumes/v1", {"size_total": GB})
    assert (repeated.status_code, repeated.json["name"]) == (201, "v1")
    assert pending(idle, "POST", "/dummy/volumes/v1", {"size_total": GB}) != job


def test_a_match_without_a_key_is_not_marked_as_replayed(idle):
    lock = ("PUT", "/dummy/volumes/v1/locks/h")
    assert pending(idle, *lock) == pending(idle, *lock)
    assert "Idempotency-Replayed" not in idle(*lock).headers


def test_an_outcome_is_returned_once(idle):
    job = pending(idle, "DELETE", "/dummy/volumes/nope")
    idle.service.run(job)
    assert "No such volume" in idle.message(404, "DELETE", "/dummy/volumes/nope")
    assert pending(idle, "DELETE", "/dummy/volumes/nope") != job


def test_a_late_outcome_is_returned_again(idle, monkeypatch):
    idle.service.run(pending(idle, "DELETE", "/dummy/volumes/nope"))
    monkeypatch.setattr(changes, "_ANSWER_WITHIN_S", -1000.0)
    for _ in range(2):
        assert "No such volume" in idle.message(404, "DELETE", "/dummy/volumes/nope")


def test_another_body_or_caller_is_another_request(idle):
    job = pending(idle, "POST", "/dummy/volumes/v1", {"size_total": GB})
    assert pending(idle, "POST", "/dummy/volumes/v1", {"size_total": 2 * GB}) != job


def test_requests_with_different_bodies_are_different(make_v3):
    old = make_v3(wait_s=0.02)
    for method, path, bodies in (
        ("PATCH", "volumes/v1", ({"size_total": GB}, {"size_total": 2 * GB})),
        ("POST", "volumes/v1/snapshots/s", ({}, {"purge_old_if_needed": True})),
        ("POST", "export/p", ({"rules": ["a"]}, {"rules": ["b"]})),
    ):
        first, second, again = (pending(old, method, f"/dummy/{path}", body) for body in (*bodies, bodies[1]))
        assert first != second == again


@pytest.mark.parametrize("error", [redis.ConnectionError, redis.TimeoutError, redis.ResponseError])
def test_an_error_of_redis_during_the_wait_is_504(idle, monkeypatch, error):
    monkeypatch.setattr(changes, "wait_for_end", Mock(side_effect=error))
    job = pending(idle, "PUT", "/dummy/volumes/v1/locks/h")
    assert idle.service.waiting() == [job]


def test_when_redis_times_out_at_the_end_the_hold_expires_by_itself(idle, monkeypatch):
    lock = ("PUT", "/dummy/volumes/v1/locks/h")
    assert not idle.service.redis.exists(f"sapi:held:{pending(idle, *lock)}")
    silent = Mock(side_effect=redis.TimeoutError("slow"))
    monkeypatch.setattr(idle.service.services.short_timeout_scripts, "get_job", silent)
    # One more answer of Redis would take longer than the wait may.
    job = pending(idle, "PUT", "/dummy/volumes/v1/locks/g")
    assert idle.service.redis.exists(f"sapi:held:{job}")
    assert silent.call_count == 1


def test_a_process_that_stops_does_not_wait_for_a_held_request(make_v3):
    old = make_v3(wait_s=0.02)
    job = pending(old, "PUT", "/dummy/volumes/v1/locks/h")
    old.service.redis.set(f"sapi:held:{job}", "7", px=20_000)
    app_settings = old.service.app.extensions[EXTENSION]
    settings = app_settings.settings.model_copy(update={"v3_wait": 600})
    old.service.app.extensions[EXTENSION] = replace(app_settings, settings=settings)
    old.service.services.stop()
    assert pending(old, "PUT", "/dummy/volumes/v1/locks/h") == job
    assert old.service.redis.exists(f"sapi:held:{job}")


def test_another_caller_path_or_method_is_another_request(idle):
    jobs = [pending(idle, "PUT", "/dummy/volumes/v1/locks/h")]
    developer = idle.service.app.test_client()
    developer.get("/login")
    jobs.append(developer.put("/v3/dummy/volumes/v1/locks/h").json["job"].rpartition("/")[2])
    jobs.append(pending(idle, "PUT", "/dummy/volumes/v2/locks/h"))
    assert pending(idle, "PUT", "/dummy/volumes/v2/locks/h") == jobs[-1]
    jobs.append(pending(idle, "DELETE", "/dummy/volumes/v2/locks/h"))
    assert len(set(jobs)) == 4


def test_with_a_key_of_its_own_a_request_is_identified_by_that_alone(idle):
    lock = ("PUT", "/dummy/volumes/v1/locks/h")
    jobs = [pending(idle, *lock, Idempotency_Key=key) for key in ("one", "two", "one")]
    assert jobs[0] == jobs[2] != jobs[1]
    assert idle(*lock, Idempotency_Key="one").headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in idle(*lock, Idempotency_Key="three").headers
    other = idle("PUT", "/dummy/volumes/v1/locks/h?x=1", Idempotency_Key="one")
    assert (other.status_code, "Choose a new key" in other.json["message"]) == (400, True)


def test_a_condition_is_refused_and_nothing_is_accepted(idle):
    assert "conditional" in idle.message(412, "PUT", "/dummy/volumes/v1/locks/h", If_Match='"1"')
    assert idle.service.waiting() == []


def test_any_later_change_of_the_volume_makes_it_a_new_request(idle):
    job = pending(idle, "PUT", "/dummy/volumes/v1/locks/h")
    other = idle.service.ask("POST", "volumes/v1/snapshots/s", {})
    assert other.status_code == 202
    assert pending(idle, "PUT", "/dummy/volumes/v1/locks/h") != job


def test_a_clone_of_the_volume_does_not(idle):
    job = pending(idle, "POST", "/dummy/volumes/v1/snapshots/s", {})
    pending(idle, "POST", "/dummy/volumes/c", {"from_volume": "v1", "from_snapshot": "s"})
    assert pending(idle, "POST", "/dummy/volumes/v1/snapshots/s", {}) == job


def test_a_later_change_by_path_is_resolved_first(idle):
    for name, path in (("v1", "/p1"), ("v2", "/p2")):
        idle.service.change("POST", f"volumes/{name}", {"size_total": GB, "junction_path": path})
    job = pending(idle, "PUT", "/dummy/volumes/v1/locks/h")
    idle.service.run(job)
    for path, same in (("/p2", True), ("/p1", False)):
        by_path = idle.service.ask("DELETE", f"volumes/:{path}/locks/x").headers["Location"].rpartition("/")[2]
        # It may be of the same volume.
        assert pending(idle, "PUT", "/dummy/volumes/v1/locks/h") == job
        idle.service.run(by_path)
        if not same:
            assert pending(idle, "PUT", "/dummy/volumes/v1/locks/h") != job


def test_reads_of_a_pending_object_have_pauses_between_them(idle, monkeypatch):
    accepts, pauses = list[NewJob](), list[float]()

    def unsettled(_jobs, new):
        accepts.append(new)
        return SubmitOutcome.UNSETTLED, "a-job", None

    monkeypatch.setattr(Jobs, "accept", unsettled)
    clock = Mock(wraps=time)
    clock.sleep.side_effect = pauses.append
    monkeypatch.setattr(changes, "time", clock)
    assert idle("PUT", "/dummy/volumes/v1/locks/h").status_code == 504
    assert pauses == [0.2] * len(accepts)


def test_a_change_by_path_is_superseded_by_name(idle):
    idle.service.change("POST", "volumes/v1", {"size_total": GB, "junction_path": "/p1"})
    job = pending(idle, "PUT", "/dummy/volumes/:/p1/locks/h")
    later = idle.service.ask("DELETE", "volumes/v1/locks/h").headers["Location"].rpartition("/")[2]
    idle.service.run(job)
    idle.service.run(later)
    assert pending(idle, "PUT", "/dummy/volumes/:/p1/locks/h") != job


def test_while_the_first_request_is_held_a_second_job_is_made(make_v3):
    old = make_v3(v3_wait=6)
    answers = []
    first = threading.Thread(target=lambda: answers.append(old("POST", "/dummy/volumes/v1", {"size_total": GB})))
    first.start()
    until = time.monotonic() + 5
    while not old.service.waiting() and time.monotonic() < until:
        time.sleep(0.01)
    second = threading.Thread(target=lambda: answers.append(old("POST", "/dummy/volumes/v1", {"size_total": GB})))
    second.start()
    while len(old.service.waiting()) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert len(old.service.waiting()) == 2
    old.service.run_all()
    first.join()
    second.join()
    assert sorted(answer.status_code for answer in answers) == [201, 400]


def test_the_hold_of_a_killed_process_expires(idle):
    job = pending(idle, "PUT", "/dummy/volumes/v1/locks/h")
    # As a killed process leaves it.
    idle.service.redis.set(f"sapi:held:{job}", "7", px=150)
    assert pending(idle, "PUT", "/dummy/volumes/v1/locks/h") == job


def test_the_record_outlives_the_job_for_a_while(make_v3):
    old = make_v3(wait_s=WAIT_S, v3_repeat=100)
    job = pending(old, "PUT", "/dummy/volumes/v1/locks/h")
    (record,) = old.service.redis.keys("sapi:repeat:*")
    assert old.service.redis.pttl(record) > 1_000_000
    old.service.run(job)
    assert 50_000 < old.service.redis.pttl(record) <= 100_000


def test_without_a_waiting_slot_no_job_is_accepted(make_v3):
    old = make_v3(wait_s=WAIT_S, api={"max_waiting": 1})
    with old.service.services.events.slot() as taken:
        assert taken
        answer = old("PUT", "/dummy/volumes/v1/locks/h")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert old.service.waiting() == []
    pending(old, "PUT", "/dummy/volumes/v1/locks/h")


def test_a_request_needs_one_waiting_slot_only(make_v3):
    old = make_v3(v3_wait=20, api={"max_waiting": 1})
    with old.service.running():
        assert old("PUT", "/dummy/volumes/v1/locks/h").status_code == 404


def test_a_process_that_stops_answers_at_once(make_v3):
    old = make_v3(v3_wait=600)
    answers = []
    request = threading.Thread(target=lambda: answers.append(old("PUT", "/dummy/volumes/v1/locks/h")))
    request.start()
    until = time.monotonic() + 10
    while not old.service.waiting() and time.monotonic() < until:
        time.sleep(0.01)
    old.service.services.stop()
    request.join(10)
    assert [answer.status_code for answer in answers] == [504]
