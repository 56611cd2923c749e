"""Requests over connections that are cut, delayed and refused: changes are made once, and every call ends."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import pytest
from tests.e2e.own_stack import PASSWORD, USER

from proxy import answer, proxied
from storage_api_client import AsyncClient, Client, JobFailed, OutcomeUnknown, StillRunning, Unavailable

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

BASIC = (USER, PASSWORD)
FULL = json.dumps({"type": "/problems/queue-full", "title": "Queue full", "status": 429, "code": "queue-full",
                   "detail": "Too many jobs wait.", "retryable": True})  # fmt: skip


@pytest.fixture
def proxy(stack):
    with proxied(stack.url) as running:
        yield running


@pytest.fixture
def through(proxy):
    with Client(proxy.url, basic=BASIC, timeout=30) as client:
        yield client


def jobs_of(api: Client, volume: str) -> list[str]:
    return [job.operation for job in api.jobs.list(volume=volume) if not job.operation.startswith(("get_", "list_"))]


def test_a_change_whose_answer_is_lost_three_times_is_made_once(proxy, through, api, name):
    proxy.lose = 3
    assert through.subsystem("dummy").volumes.create(name, size_total="1GiB").size_total == 2**30
    assert proxy.lose == 0
    assert len([line for line in proxy.requests if line.startswith("POST")]) == 4
    assert jobs_of(api, name) == ["create_volume"]


def test_the_asynchronous_client_does_the_same(proxy, api, name):
    async def create() -> str:
        async with AsyncClient(proxy.url, basic=BASIC, timeout=30) as client:
            return (await client.subsystem("dummy").volumes.create(name)).name

    proxy.lose = 2
    assert asyncio.run(create()) == name
    assert proxy.lose == 0
    assert jobs_of(api, name) == ["create_volume"]


def test_a_listing_that_is_being_read_is_waited_for(proxy, through, volume):
    document = json.dumps({"type": "/problems/not-cached", "title": "Not cached", "status": 504, "code": "not-cached",
                           "detail": "It is being read.", "retryable": True})  # fmt: skip
    later = answer("504 Gateway Timeout", document, Retry_After="1", Operation_Location="/v4/jobs/x")
    proxy.answers = [later]
    made = through.subsystem("dummy").volumes.snapshot_each("first", where={"name": volume})
    assert [result.status for result in made] == [201]
    proxy.answers = [later] * 9
    with Client(proxy.url, basic=BASIC, timeout=2) as short_timeout, pytest.raises(Unavailable):
        short_timeout.subsystem("dummy").volumes.snapshot_each("second", where={"name": volume})


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_retry_after_is_respected(proxy, through, api, name, status):
    proxy.answers = [answer(status, FULL, Retry_After="1")]
    began = time.monotonic()
    through.subsystem("dummy").volumes.create(name)
    assert time.monotonic() - began >= 1
    assert proxy.answers == []
    assert jobs_of(api, name) == ["create_volume"]


def test_retry_after_beyond_the_deadline_fails_at_once(proxy, name):
    proxy.answers = [answer("429 Too Many Requests", FULL, Retry_After="3600")]
    with Client(proxy.url, basic=BASIC, timeout=5) as client, pytest.raises(Unavailable) as refused:
        client.subsystem("dummy").volumes.create(name)
    assert (refused.value.code, refused.value.retryable) == ("queue-full", True)
    assert len(proxy.requests) == 1


def test_a_gateway_without_a_service_counts_as_a_lost_connection(proxy, through, name):
    proxy.answers = [answer("502 Bad Gateway", "<html>", kind="text/html")] * 2
    assert through.subsystem("dummy").volumes.create(name).name == name
    assert proxy.answers == []


def test_a_change_that_was_sent_and_never_answered_has_an_unknown_outcome_and_a_key_to_find_out(proxy, api, name):
    proxy.lose = 1000
    with Client(proxy.url, basic=BASIC) as client, pytest.raises(OutcomeUnknown) as unknown:
        client.subsystem("dummy").volumes.create(name, timeout=2)
    assert unknown.value.idempotency_key
    proxy.lose = 0
    with Client(proxy.url, basic=BASIC, timeout=20) as client:
        client.subsystem("dummy").volumes.create(name, idempotency_key=unknown.value.idempotency_key)
    assert jobs_of(api, name) == ["create_volume"]


def test_jobs_are_retried_once_by_a_bulk_retry_whose_answer_is_lost(proxy, through, api, volume):
    snapshots = [api.subsystem("dummy").volumes.snapshot(volume, "s", wait=False) for _ in range(2)]
    with pytest.raises(JobFailed):
        snapshots[1].wait(20)
    proxy.lose = 1
    (retried,) = through.jobs.retry_all(volume=volume, state="failed").done
    assert len([line for line in proxy.requests if line.startswith("POST")]) == 2
    assert [job.id for job in api.jobs.list(volume=volume) if job.retry_of] == [retried]


def test_an_unsent_change_has_no_unknown_outcome(proxy, name):
    proxy.refuse()
    with Client(proxy.url, basic=BASIC) as client, pytest.raises(Unavailable) as away:
        client.subsystem("dummy").volumes.create(name, timeout=1.5)
    assert "refused" in away.value.detail


def test_a_job_is_followed_through_a_service_that_is_away_meanwhile(proxy, through, name):
    job = through.subsystem("slow").volumes.create(name, wait=False)
    proxy.refuse()
    back = threading.Timer(1.5, proxy.listen)
    back.start()
    assert job.wait(timeout=30).name == name
    back.join()


def test_a_request_without_response_times_out(proxy, name):
    proxy.pass_on.clear()
    with Client(proxy.url, basic=BASIC) as client, pytest.raises(OutcomeUnknown):
        client.subsystem("dummy").volumes.create(name, timeout=2)


def test_a_job_that_takes_longer_is_followed(api, name):
    with pytest.raises(StillRunning) as running:
        api.subsystem("slow").volumes.create(name, timeout=0.5)
    assert running.value.job is not None
    assert api.jobs.wait(running.value.job.id, timeout=20)["name"] == name


def test_long_polls_are_sent_once_for_each_change(proxy, through, name):
    job = through.subsystem("slow").volumes.create(name, wait=False)
    proxy.requests.clear()
    seen: list[str] = []
    job.wait(timeout=20, on_progress=lambda job: seen.append(job.state))
    assert seen[-1] == "succeeded"
    polls = [line for line in proxy.requests if line.startswith("GET")]
    assert len(polls) <= len(seen) + 2, (polls, seen)


def test_a_redirect_is_not_followed_with_the_credentials(proxy, name):
    proxy.answers = [answer("301 Moved Permanently", Location="https://elsewhere.example/")]
    with Client(proxy.url, basic=BASIC) as client, pytest.raises(Exception, match=r"elsewhere\.example"):
        client.subsystem("dummy").volumes.get(name)
    assert len(proxy.requests) == 1


def test_a_server_that_is_not_the_api_is_reported(proxy, name):
    proxy.answers = [answer("200 OK", "<html>Sign in to the hotel's network", kind="text/html")]
    with Client(proxy.url, basic=BASIC) as client, pytest.raises(Unavailable, match="not the storage API"):
        client.subsystem("dummy").volumes.get(name)


def test_a_failed_job_is_an_end_also_where_its_code_says_unavailable(through, name):
    with pytest.raises(JobFailed) as failed:
        through.subsystem("away").volumes.create(name)
    assert failed.value.code == "backend-unavailable"
    assert failed.value.job is not None
    assert failed.value.job.state == "failed"
