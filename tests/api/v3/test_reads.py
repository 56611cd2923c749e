"""How old what is read below `/v3` may be, and answers that are lost."""

from __future__ import annotations

import threading
import time
from typing import Any
from unittest.mock import Mock

import pytest
import redis

from api.response_cache import middleware
from tests.api.v3.conftest import WAIT_S
from tests.api.v3.pending_changes import pending
from worker.store.client import NotReplicated, ReplyLost


def test_a_read_that_does_not_end_in_time_is_503(idle):
    answer = idle("GET", "/dummy/volumes")
    assert (answer.status_code, answer.headers["Retry-After"], set(answer.json)) == (503, "1", {"message"})
    job = answer.headers["Operation-Location"].removeprefix("/v4/jobs/")
    assert idle.service.redis.hget(f"sapi:job:{job}", "target") == b"/v4/dummy/volumes"
    assert idle("GET", "/dummy/volumes").headers["Operation-Location"] == answer.headers["Operation-Location"]


def test_reads_are_never_older_than_configured(idle):
    idle.service.get()
    idle.service.run_all()
    assert idle("GET", "/dummy/volumes").status_code == 200
    assert idle("GET", "/dummy/volumes", Pragma="no-cache").status_code == 503
    idle.service.age("dummy/volumes", 100)
    # /v4 serves it, and refreshes it meanwhile.
    assert idle.service.get().status_code == 200
    assert idle("GET", "/dummy/volumes").status_code == 503
    assert idle("GET", "/dummy/volumes", Cache_Control="max-stale=1000").status_code == 200
    assert idle("GET", "/dummy/volumes", Cache_Control="only-if-cached, max-age=1").status_code == 503


def test_an_unavailable_filer_is_503_and_no_older_copy(make_v3):
    old = make_v3(v3_wait=10)
    old.service.get()
    old.service.run_all()
    old.service.age("dummy/volumes", 100)
    old.service.redis.set("sapi:unreachable:dummy", "1")
    answers = []
    request = threading.Thread(target=lambda: answers.append(old("GET", "/dummy/volumes")))
    request.start()
    request.join(0.3)
    assert answers == []
    old.service.run_all()
    request.join()
    assert [answer.status_code for answer in answers] == [200]
    assert int(answers[0].headers["Age"]) < 60


def test_an_age_of_0_always_reads_from_the_filer(make_v3):
    old = make_v3(wait_s=WAIT_S, v3_max_age=0)
    old.service.get()
    old.service.run_all()
    assert old("GET", "/dummy/volumes").status_code == 503


@pytest.mark.parametrize(("max_age_s", "again_s", "status"), [(10, 10, 503), (600, 60, 200)])
def test_cached_responses_are_not_too_old_or_due_for_a_refresh(make_v3, monkeypatch, max_age_s, again_s, status):
    old = make_v3(wait_s=WAIT_S, v3_max_age=max_age_s)
    marks = Mock(wraps=middleware.mark_cacheable)
    monkeypatch.setattr(middleware, "mark_cacheable", marks)
    old.service.get()
    old.service.run_all()
    assert [old("GET", "/dummy/volumes").status_code for _ in range(2)] == [200, 200]
    old.service.get()
    # For how long each may be answered again, in seconds: there is one of /v3, and one of /v4.
    assert [call.args[-1] for call in marks.call_args_list] == [again_s, 60]
    old.service.age("dummy/volumes", 20)
    assert old("GET", "/dummy/volumes").status_code == status


@pytest.mark.parametrize(("settings", "promised_s"), [({"v3_max_age": 10}, 10), ({}, 60), ({"v3_max_age": 600}, 60)])
def test_max_age_of_responses_is_limited_by_the_configured_age(make_v3, settings, promised_s):
    """Such a client cannot see an age: it is not given an old copy while that is refreshed."""
    old = make_v3(wait_s=WAIT_S, **settings)
    old.service.get()
    old.service.run_all()
    answers = [old("GET", "/dummy/volumes") for _ in range(2)]
    assert [answer.headers["Cache-Control"] for answer in answers] == [f"private, max-age={promised_s}"] * 2


def test_a_batch_with_a_change_of_the_volume_makes_it_a_new_request(idle):
    job = pending(idle, "PUT", "/dummy/volumes/v1/locks/h")
    requests = [{"method": "POST", "path": "/v4/dummy/volumes/v1/snapshots/s", "body": {}}]
    client = idle.service.app.test_client()
    batch = client.post("/v4/batches", json={"requests": requests}, auth=("admin", "secret"))
    assert batch.status_code == 202, batch.text
    assert pending(idle, "PUT", "/dummy/volumes/v1/locks/h") != job


@pytest.mark.parametrize("error", [ReplyLost("cut"), NotReplicated([])], ids=["lost", "not replicated"])
def test_a_lost_reply_of_redis_makes_no_second_job(idle, monkeypatch, error):
    jobs = type(idle.service.services.jobs)
    accept: Any = jobs.accept
    lost: list[Any] = []

    def losing(self, new):
        outcome = accept(self, new)
        if not lost:
            lost.append(outcome)
            raise error
        return outcome

    monkeypatch.setattr(jobs, "accept", losing)
    answer = idle("PUT", "/dummy/volumes/v1/locks/h")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert "may have been accepted" in answer.json["message"]
    assert "nothing is done twice" in answer.json["message"]
    (job,) = idle.service.waiting()
    # Nobody renews its lease.
    idle.service.redis.pexpire(f"sapi:held:{job}", 1)
    assert pending(idle, "PUT", "/dummy/volumes/v1/locks/h") == job


def test_an_outcome_is_returned_though_redis_cannot_record_that(idle, monkeypatch):
    job = pending(idle, "PUT", "/dummy/volumes/v1/locks/h")
    idle.service.run(job)
    scripts = type(idle.service.services.scripts)
    forget, away = scripts.forget_repeat, [True]

    def forgetting(self, digest, job_id):
        if away:
            away.pop()
            raise redis.ConnectionError
        forget(self, digest, job_id)

    monkeypatch.setattr(scripts, "forget_repeat", forgetting)
    assert idle("PUT", "/dummy/volumes/v1/locks/h").status_code == 404
    until = time.monotonic() + 20
    while idle.service.redis.keys("sapi:repeat:*") and time.monotonic() < until:
        time.sleep(0.02)
    assert idle.service.redis.keys("sapi:repeat:*") == []
