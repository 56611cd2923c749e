"""How long changes are held, and what they are answered then."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from unittest.mock import Mock

import redis

from api.v3 import changes
from api.v3.settings import EXTENSION
from tests.api.v3.conftest import WAIT_S
from tests.api.v3.pending_changes import pending

GB = 10**9


def test_a_change_that_is_under_way_is_504_and_found_again(idle):
    job = pending(idle, "POST", "/dummy/volumes/v1", {"size_total": GB})
    assert idle.service.redis.hget(f"sapi:job:{job}", "target") == b"/v4/dummy/volumes/v1"
    assert pending(idle, "POST", "/dummy/volumes/v1", {"size_total": GB, "unknown": 1}) == job
    assert idle.service.waiting() == [job]
    idle.service.run(job)
    repeated = idle("POST", "/dummy/volumes/v1", {"size_total": GB})
    assert (repeated.status_code, repeated.json["name"]) == (201, "v1")
    assert pending(idle, "POST", "/dummy/volumes/v1", {"size_total": GB}) != job


def test_what_is_found_without_a_key_is_no_replay(idle):
    lock = ("PUT", "/dummy/volumes/v1/locks/h")
    assert pending(idle, *lock) == pending(idle, *lock)
    assert "Idempotency-Replayed" not in idle(*lock).headers


def test_an_outcome_is_told_once_also_a_failure(idle):
    job = pending(idle, "DELETE", "/dummy/volumes/nope")
    idle.service.run(job)
    assert "No such volume" in idle.message(404, "DELETE", "/dummy/volumes/nope")
    assert pending(idle, "DELETE", "/dummy/volumes/nope") != job


def test_an_outcome_that_comes_so_late_that_a_proxy_may_be_gone_is_sent_again(idle, monkeypatch):
    idle.service.run(pending(idle, "DELETE", "/dummy/volumes/nope"))
    monkeypatch.setattr(changes, "_ANSWER_WITHIN_S", -1000.0)
    for _ in range(2):
        assert "No such volume" in idle.message(404, "DELETE", "/dummy/volumes/nope")


def test_another_body_or_caller_is_another_request(idle):
    job = pending(idle, "POST", "/dummy/volumes/v1", {"size_total": GB})
    assert pending(idle, "POST", "/dummy/volumes/v1", {"size_total": 2 * GB}) != job


def test_each_body_is_read_for_what_the_request_is(make_old):
    old = make_old(wait_s=0.02)
    for method, path, bodies in (
        ("PATCH", "volumes/v1", ({"size_total": GB}, {"size_total": 2 * GB})),
        ("POST", "volumes/v1/snapshots/s", ({}, {"purge_old_if_needed": True})),
        ("POST", "export/p", ({"rules": ["a"]}, {"rules": ["b"]})),
    ):
        first, second, again = (pending(old, method, f"/dummy/{path}", body) for body in (*bodies, bodies[1]))
        assert first != second == again


def test_redis_that_goes_away_meanwhile_leaves_it_under_way(idle, monkeypatch):
    monkeypatch.setattr(changes, "wait_for_end", Mock(side_effect=redis.ConnectionError))
    job = pending(idle, "PUT", "/dummy/volumes/v1/locks/h")
    assert idle.service.waiting() == [job]


def test_where_redis_is_silent_at_the_end_the_lease_is_left_to_expire(idle, monkeypatch):
    lock = ("PUT", "/dummy/volumes/v1/locks/h")
    assert not idle.service.redis.exists(f"sapi:held:{pending(idle, *lock)}")
    silent = Mock(side_effect=redis.TimeoutError("slow"))
    monkeypatch.setattr(idle.service.services.short_timeout_scripts, "get_job", silent)
    # One more answer of Redis would take longer than the wait may.
    job = pending(idle, "PUT", "/dummy/volumes/v1/locks/g")
    assert idle.service.redis.exists(f"sapi:held:{job}")
    assert silent.call_count == 1


def test_a_process_that_stops_waits_for_no_other(make_old):
    old = make_old(wait_s=0.02)
    job = pending(old, "PUT", "/dummy/volumes/v1/locks/h")
    old.service.redis.set(f"sapi:held:{job}", "7", px=20_000)
    patient = old.service.app.extensions[EXTENSION]
    settings = patient.settings.model_copy(update={"v3_wait": 600})
    old.service.app.extensions[EXTENSION] = replace(patient, settings=settings)
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


def test_a_clone_of_it_does_not(idle):
    job = pending(idle, "POST", "/dummy/volumes/v1/snapshots/s", {})
    pending(idle, "POST", "/dummy/volumes/c", {"from_volume": "v1", "from_snapshot": "s"})
    assert pending(idle, "POST", "/dummy/volumes/v1/snapshots/s", {}) == job


def test_what_a_later_path_means_is_waited_for(idle):
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


def test_a_change_by_path_is_superseded_by_name(idle):
    idle.service.change("POST", "volumes/v1", {"size_total": GB, "junction_path": "/p1"})
    job = pending(idle, "PUT", "/dummy/volumes/:/p1/locks/h")
    later = idle.service.ask("DELETE", "volumes/v1/locks/h").headers["Location"].rpartition("/")[2]
    idle.service.run(job)
    idle.service.run(later)
    assert pending(idle, "PUT", "/dummy/volumes/:/p1/locks/h") != job


def test_while_the_first_is_held_there_is_a_second_job(make_old):
    old = make_old(v3_wait=6)
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


def test_a_process_that_is_gone_holds_nothing(idle):
    job = pending(idle, "PUT", "/dummy/volumes/v1/locks/h")
    # As a killed process leaves it.
    idle.service.redis.set(f"sapi:held:{job}", "7", px=150)
    assert pending(idle, "PUT", "/dummy/volumes/v1/locks/h") == job


def test_the_record_outlives_the_job_for_a_while(make_old):
    old = make_old(wait_s=WAIT_S, v3_repeat=100)
    job = pending(old, "PUT", "/dummy/volumes/v1/locks/h")
    (record,) = old.service.redis.keys("sapi:repeat:*")
    assert old.service.redis.pttl(record) > 1_000_000
    old.service.run(job)
    assert 50_000 < old.service.redis.pttl(record) <= 100_000


def test_no_place_to_wait_means_nothing_was_accepted(make_old):
    old = make_old(wait_s=WAIT_S, api={"max_waiting": 1})
    with old.service.services.events.slot() as taken:
        assert taken
        answer = old("PUT", "/dummy/volumes/v1/locks/h")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert old.service.waiting() == []
    pending(old, "PUT", "/dummy/volumes/v1/locks/h")


def test_the_last_place_to_wait_is_enough_for_one(make_old):
    old = make_old(v3_wait=20, api={"max_waiting": 1})
    with old.service.running():
        assert old("PUT", "/dummy/volumes/v1/locks/h").status_code == 404


def test_a_process_that_stops_answers_at_once(make_old):
    old = make_old(v3_wait=600)
    answers = []
    request = threading.Thread(target=lambda: answers.append(old("PUT", "/dummy/volumes/v1/locks/h")))
    request.start()
    until = time.monotonic() + 10
    while not old.service.waiting() and time.monotonic() < until:
        time.sleep(0.01)
    old.service.services.stop()
    request.join(10)
    assert [answer.status_code for answer in answers] == [504]
