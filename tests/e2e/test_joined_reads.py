"""Section 3 of the contract: one listing of a collection runs at a time, even when its worker is killed."""

from __future__ import annotations

import asyncio
import os
import resource
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.client import Client
from tests.e2e.own_stack import LIST, PASSWORD, QUICK, USER, Node, OwnStack, own_stack
from tests.e2e.simultaneous import Caller, Got, ask_all, connected

#: What this process and the service may open; each client is an open file of both.
_OPEN_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
_MOST_CLIENTS = 1000 if _OPEN_FILES == resource.RLIM_INFINITY else min(1000, _OPEN_FILES // 4)
CLIENTS = int(os.environ.get("SAPI_TEST_CLIENTS", _MOST_CLIENTS))
#: Some want the job at once, some wait as long as reads do, and some until the end.
WAITS = ("respond-async", "", "wait=25", "wait=25")
LEASE_S = 6
#: The listing of a killed worker is restarted after its lease and the grace time (a third of it).
_TAKEN_OVER_S = LEASE_S + LEASE_S / 3 + 3
_LISTING_S = 5.0
#: Long enough to be observed on a busy machine before it ends.
_DISTURBED_LISTING_S = 10.0
#: Clients that repeat their request at once, and the filers that they read in turn.
REPEATING_CLIENTS = 24
QUICK_FILERS = [f"quick{number}" for number in range(6)]
SECOND = Node("list2", "list")


@pytest.fixture(scope="module")
def open_files() -> Iterator[None]:
    """Let this process open a file for each client; many systems allow 1,024 until it asks for more."""
    usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CLIENTS if most == resource.RLIM_INFINITY else min(2 * CLIENTS, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (usual if usual == resource.RLIM_INFINITY else max(usual, wanted), most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (usual, most))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, open_files: None) -> Iterator[OwnStack]:
    """A service with a cold listing for each test, and one worker that can make them."""
    quick = {filer: {"volumes": 100, "list_latency_s": 0.3} for filer in QUICK_FILERS}
    slow = {filer: {"volumes": 100, "list_latency_s": _LISTING_S} for filer in ("cold", "joined")}
    slow["killed"] = {"volumes": 100, "list_latency_s": _DISTURBED_LISTING_S}
    gateways = {**slow, **quick}
    folder = tmp_path_factory.mktemp("joined")
    # On a busy machine many clients at once make each answer of Redis wait for the processor.
    with own_stack(folder, gateways, QUICK, LIST, lease=LEASE_S, redis_timeout=10) as running:
        yield running


async def _all(stack: OwnStack, filer: str, count: int, waits: tuple[str, ...]) -> list[list[Got]]:
    callers = await connected(stack.url, USER, PASSWORD, count)
    return await ask_all(callers, f"/v4/{filer}/volumes", waits)


def _listings(http: Client, filer: str) -> list[dict[str, Any]]:
    path = f"/v4/jobs?operation=list_volumes&subsystem={filer}&limit=1000"
    jobs: list[dict[str, Any]] = http.get(path).json()
    return jobs


def _firsts(answers: list[list[Got]]) -> Counter[str]:
    """How the first answers were: 200 or 202, and where from."""
    return Counter(f"{first.status} {_origin(first)}" for first, *_ in answers)


def _origin(answer: Got) -> str:
    return answer.headers.get("cache-status", "").partition("; ttl")[0]


def _check_answers(answers: list[list[Got]], jobs: set[str]) -> None:
    """Every answer is 200 or 202 of these jobs, none an error, and all lead to the same listing."""
    errors = [(got.status, got.body[:400]) for some in answers for got in some if got.status not in (200, 202)]
    assert not errors, f"{len(errors)} errors, such as {errors[0]}"
    finals = [some[-1] for some in answers]
    named_jobs = {got.job for some in answers for got in (some[0], some[-1]) if "hit" not in _origin(got)}
    assert named_jobs == jobs
    assert {got.status for got in finals} == {200}
    assert len({got.body for got in finals}) == 1
    assert len(finals[0].json()) == 100


@pytest.mark.slow
def test_many_requests_for_a_cold_listing_make_one_job(stack: OwnStack, capsys: pytest.CaptureFixture[str]) -> None:
    answers = asyncio.run(_all(stack, "cold", CLIENTS, WAITS))
    jobs = _listings(stack.client(), "cold")
    with capsys.disabled():
        print(f"\n{len(answers)} clients, {len(jobs)} jobs, first answers {dict(_firsts(answers))}")  # noqa: T201
    assert len(jobs) == 1
    assert (jobs[0]["state"], jobs[0]["attempt"]) == ("succeeded", 1)
    _check_answers(answers, {jobs[0]["id"]})


@pytest.mark.slow
def test_requests_at_the_end_of_the_listing_make_no_second_job(stack: OwnStack) -> None:
    """Clients repeat the request until they have the listing, for several filers in turn."""
    jobs = [asyncio.run(_repeated_requests(stack, f"/v4/{filer}/volumes")) for filer in QUICK_FILERS]
    assert [len(of_filer) for of_filer in jobs] == [1] * len(jobs)


async def _repeated_requests(stack: OwnStack, path: str) -> set[str]:
    """The jobs that clients were answered with until each had the listing."""

    async def repeat(caller: Caller) -> set[str]:
        job_ids = set()
        while (answer := await caller.get(path, Prefer="respond-async")).status != 200:
            assert answer.status == 202, answer
            job_ids.add(answer.job)
        caller.close()
        return job_ids

    callers = await connected(stack.url, USER, PASSWORD, REPEATING_CLIENTS)
    return set().union(*await asyncio.gather(*map(repeat, callers)))


def test_a_joined_read_returns_the_result_of_its_own_query(stack: OwnStack) -> None:
    client, later = stack.client(), {"Prefer": "respond-async"}
    filtered = client.get("/v4/joined/volumes?name=acc*", headers=later)
    whole = client.get("/v4/joined/volumes", headers=later)
    filtered_by_name = client.get("/v4/joined/volumes?name=acc*&fields=name", headers=later)
    location = f"/v4/jobs/{whole.json()['id']}"
    assert {answer.headers["Location"] for answer in (filtered, whole, filtered_by_name)} == {location}
    client.ended(whole.json()["id"])

    assert len(client.get(f"{location}/result").json()) == 100
    assert len(client.get(whole.json()["links"]["result"]).json()) == 100
    assert 0 < len(client.get(filtered.json()["links"]["result"]).json()) < 100
    result = client.get(filtered_by_name.json()["links"]["result"]).json()
    assert {(*volume,) for volume in result} == {("name",)}


@pytest.mark.slow
def test_listing_is_restarted_when_its_worker_is_killed(stack: OwnStack, capsys: pytest.CaptureFixture[str]) -> None:
    """Its worker is killed while clients wait; more clients send requests when it is gone."""
    both = asyncio.run(asyncio.wait_for(_requests_around_a_kill(stack), _TAKEN_OVER_S + 2 * _DISTURBED_LISTING_S + 30))
    http = stack.client()
    jobs = _listings(http, "killed")
    with capsys.disabled():
        print(f"\n{len(both)} clients, first answers {dict(_firsts(both))}, attempts {jobs[0]['attempt']}")  # noqa: T201
    assert [job["state"] for job in jobs].count("succeeded") == 1
    assert jobs[0]["attempt"] > 1 or len(jobs) > 1, "the worker that was killed did not have the listing"
    _check_answers(both, {job["id"] for job in jobs})
    assert "hit" in http.get("/v4/killed/volumes").headers["Cache-Status"]


async def _requests_around_a_kill(stack: OwnStack) -> list[list[Got]]:
    early = asyncio.create_task(_all(stack, "killed", CLIENTS // 4, WAITS))
    (watcher,) = await connected(stack.url, USER, PASSWORD, 1)
    await _await_progress(watcher)
    await asyncio.to_thread(stack.kill, LIST)
    # Only now is there another one: so the first had the listing.
    await asyncio.to_thread(stack.start, SECOND)
    late = await _all(stack, "killed", CLIENTS // 12, WAITS)
    watcher.close()
    return [*await early, *late]


async def _await_progress(watcher: Caller) -> None:
    """Return when a part of the listing has been read."""
    jobs: list[dict[str, Any]] = []
    while not jobs:
        jobs = (await watcher.get("/v4/jobs?operation=list_volumes&subsystem=killed")).json()
    tag, percent = "", 0.0
    while percent < 20:
        answer = await watcher.get(f"/v4/jobs/{jobs[0]['id']}", Prefer=tag and "wait=5", If_None_Match=tag)
        if answer.status == 200:
            tag, percent = answer.headers["etag"], answer.json()["progress"]["percent"] or 0
            assert not answer.json()["done"], "the listing has ended too early to be disturbed"
