"""What reads may use up: places in a queue, calls of the storage system, memory of Redis; and what they leave."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.front_end import FrontEnd, accepted, problem

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from redis import Redis

ASYNC = {"Prefer": "respond-async"}
VOLUMES = "/v4/filer/volumes"


def open_front_end(redis_url: str, **settings: Any) -> FrontEnd:
    """A service whose reads are open to all clients."""
    return FrontEnd(redis_url, settings=settings, user_groups=())


def keys(client: Redis) -> set[str]:
    return {key.decode() for key in client.scan_iter("*")}


@pytest.fixture
def small(redis_url: str, redis_client: Redis) -> FrontEnd:
    """With ten places in each queue: seven for one user, two for all who have not signed in."""
    return open_front_end(redis_url, queue_limit=10)


def ask(client: FlaskClient, number: int) -> Any:
    return client.get(f"{VOLUMES}/made_up_{number}", headers=ASYNC)


class TestShares:
    def test_anonymous_reads_take_a_share_of_the_queue(self, small: FrontEnd):
        stranger = small.stranger()
        for number in range(2):
            accepted(ask(stranger, number))
        answer = ask(stranger, 3)
        refused = problem(answer, 429, "queue-full")
        assert refused["limit"] == "SAPI_STRANGERS_QUEUE_SHARE"
        assert int(answer.headers["Retry-After"]) >= 1
        assert "not signed in" in refused["detail"]
        accepted(ask(small.client(), 4))

    def test_reads_of_one_user_take_a_share_of_the_queue(self, small: FrontEnd):
        for number in range(7):
            accepted(ask(small.client(), number))
        refused = problem(ask(small.client(), 7), 429, "queue-full")
        assert refused["limit"] == "SAPI_USER_QUEUE_SHARE"
        accepted(ask(small.stranger(), 8))

    def test_a_running_job_does_not_count_towards_the_share(self, small: FrontEnd, worker_of: Any):
        stranger = small.stranger()
        jobs = [accepted(ask(stranger, number)) for number in range(2)]
        worker_of(small).carry_out(jobs[0])
        accepted(ask(stranger, 3))
        problem(ask(stranger, 4), 429, "queue-full")

    def test_a_cancelled_job_does_not_count_towards_the_share(self, small: FrontEnd):
        jobs = [accepted(ask(small.client(), number)) for number in range(7)]
        assert small.client().post(f"{jobs[0]}/cancel").status_code == 200
        accepted(ask(small.client(), 8))

    def test_deleted_records_do_not_count_towards_the_share(self, small: FrontEnd, redis_client: Redis):
        stranger = small.stranger()
        for number in range(2):
            job = accepted(ask(stranger, number)).rpartition("/")[2]
            redis_client.delete(f"sapi:job:{job}")
            redis_client.zrem("sapi:queued:filer.read", job)
        accepted(ask(stranger, 3))

    def test_requesters_with_fewer_queued_reads_come_first(self, redis_url: str, redis_client: Redis):
        front_end = open_front_end(redis_url)
        for number in range(100):
            accepted(ask(front_end.stranger(), number))
        answer = ask(front_end.client(), 100)
        assert answer.json["queue"]["position"] <= 3
        assert answer.json["queue"]["waiting_reason"] in ("behind-jobs", "no-worker-online")

    def test_a_full_queue_is_reported_as_full(self, redis_url: str, redis_client: Redis):
        front_end = open_front_end(redis_url, queue_limit=2)
        for number in range(2):
            accepted(ask(front_end.client(), number))
        assert problem(ask(front_end.client(), 3), 429, "queue-full")["limit"] == "SAPI_QUEUE_LIMIT"

    def test_changes_and_batches_are_refused_like_reads(self, redis_url: str, redis_client: Redis):
        client = open_front_end(redis_url, queue_limit=10, user_queue_share=20).client()
        for number in range(2):
            accepted(client.post(f"{VOLUMES}/new_{number}", json={"size_total": 10**9}))
        before = keys(redis_client)
        member = {"method": "POST", "path": f"{VOLUMES}/more", "body": {"size_total": 10**9}}
        for path, body in ((f"{VOLUMES}/more", {"size_total": 10**9}), ("/v4/batches", {"requests": [member]})):
            answer = client.post(path, json=body)
            assert problem(answer, 429, "queue-full")["limit"] == "SAPI_USER_QUEUE_SHARE"
            assert int(answer.headers["Retry-After"]) >= 1
        assert {key for key in keys(redis_client) - before if ":job:" in key} == set()


class TestRates:
    def test_reads_of_one_address_are_limited(self, redis_url: str, redis_client: Redis):
        front_end = open_front_end(redis_url, address_read_rate=2)
        for number in range(2):
            accepted(ask(front_end.stranger(), number))
        answer = ask(front_end.stranger(), 2)
        assert problem(answer, 429, "rate-limited")["limit"] == "SAPI_ADDRESS_READ_RATE"
        # The count begins anew with each minute.
        assert abs(int(answer.headers["Retry-After"]) - (60 - time.time() % 60)) <= 5
        accepted(ask(front_end.client(), 3))

    def test_addresses_of_one_ipv6_network_are_counted_together(self, redis_url: str, redis_client: Redis):
        front_end = open_front_end(redis_url, address_read_rate=2)

        def from_host(last: int) -> Any:
            return front_end.stranger().get(
                f"{VOLUMES}/v{last}", headers=ASYNC, environ_base={"REMOTE_ADDR": f"2001:db8::{last}"}
            )

        for last in (1, 2):
            accepted(from_host(last))
        problem(from_host(3), 429, "rate-limited")

    def test_reads_of_all_anonymous_clients_are_limited(self, redis_url: str, redis_client: Redis):
        front_end = open_front_end(redis_url, strangers_read_rate=2)
        for last in (1, 2):
            accepted(
                front_end.stranger().get(
                    f"{VOLUMES}/v{last}", headers=ASYNC, environ_base={"REMOTE_ADDR": f"192.0.2.{last}"}
                )
            )
        problem(
            front_end.stranger().get(f"{VOLUMES}/v3", headers=ASYNC, environ_base={"REMOTE_ADDR": "192.0.2.3"}),
            429,
            "rate-limited",
        )

    def test_reads_of_one_user_are_limited(self, redis_url: str, redis_client: Redis):
        front_end = open_front_end(redis_url, user_read_rate=2)
        answers = [ask(front_end.client(), number) for number in range(5)]
        accepted(answers[0])
        # A minute may end in between, but not two.
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert problem(refused[0], 429, "rate-limited")["limit"] == "SAPI_USER_READ_RATE"

    def test_joined_reads_are_not_counted(self, redis_url: str, redis_client: Redis):
        front_end = open_front_end(redis_url, address_read_rate=1)
        accepted(ask(front_end.stranger(), 0))
        for _ in range(3):
            assert "collapsed" in ask(front_end.stranger(), 0).headers["Cache-Status"]


class TestMemory:
    @pytest.fixture
    def nearly_full(self, redis_client: Redis) -> Any:
        def use(percent: float) -> None:
            # The tenth that is left is more than what requests and their scripts take.
            redis_client.setrange("ballast", 2**24, "x")
            used = int(redis_client.info("memory")["used_memory"])
            redis_client.config_set("maxmemory", int(used * 100 / percent))

        yield use
        redis_client.config_set("maxmemory", 0)

    def test_reads_are_refused_when_memory_is_nearly_full(self, redis_url: str, nearly_full: Any):
        front_end = open_front_end(redis_url)
        nearly_full(90)
        answer = ask(front_end.client(), 1)
        assert problem(answer, 503, "queue-unavailable")["limit"] == "SAPI_READS_MEMORY_PERCENT"
        assert "Retry-After" in answer.headers
        accepted(front_end.client().post(f"{VOLUMES}/new", json={}))

    def test_anonymous_reads_are_refused_first(self, redis_url: str, nearly_full: Any):
        nearly_full(50)
        accepted(ask(open_front_end(redis_url).stranger(), 1))
        # A process that has not looked at the memory before.
        front_end = open_front_end(redis_url)
        nearly_full(70)
        problem(ask(front_end.stranger(), 1), 503, "queue-unavailable")
        accepted(ask(front_end.client(), 1))

    def test_cached_copies_are_served_when_memory_is_nearly_full(
        self, redis_url: str, redis_client: Redis, nearly_full: Any, worker_of: Any
    ):
        front_end = open_front_end(redis_url)
        worker_of(front_end).carry_out(accepted(front_end.client().get(VOLUMES, headers=ASYNC)))
        nearly_full(90)
        assert front_end.stranger().get(VOLUMES).status_code == 200
        # And no job refreshes one that is stale; another process has not looked at the memory before.
        as_of_ms: Any = redis_client.hget("sapi:listing:filer/volumes", "as_of")
        redis_client.hset("sapi:listing:filer/volumes", "as_of", int(as_of_ms) - 100_000)
        for percent, signed_in, is_refreshed in ((90, True, False), (70, False, False), (70, True, True)):
            nearly_full(percent)
            other = open_front_end(redis_url)
            stale = (other.client() if signed_in else other.stranger()).get(VOLUMES)
            assert (stale.status_code, "ttl=-" in stale.headers["Cache-Status"]) == (200, True)
            assert ("Operation-Location" in stale.headers) is is_refreshed


class TestLeftovers:
    def test_reads_of_missing_objects_leave_no_keys(self, redis_url: str, redis_client: Redis, worker_of: Any):
        front_end = open_front_end(redis_url)
        worker = worker_of(front_end)
        worker.carry_out(accepted(front_end.client().get(VOLUMES, headers=ASYNC)))
        before = keys(redis_client)
        paths = ("nobody", ":/no/where/snapshots", "nobody/snapshots/none", "nobody/locks", "nobody/snapshots")
        jobs = [accepted(front_end.stranger().get(f"{VOLUMES}/{path}", headers=ASYNC)) for path in paths]
        for job in jobs:
            worker.carry_out(job)
            assert front_end.services.jobs.get(job.rpartition("/")[2]).job.failure.code == "no-such-volume"  # type: ignore[union-attr]
        keys_after = {
            key
            for key in keys(redis_client) - before
            if not key.startswith(("sapi:reads_of:", "sapi:index", "sapi:limit"))
        }
        assert keys_after == {f"sapi:job:{job.rpartition('/')[2]}" for job in jobs}

    def test_a_failed_read_keeps_the_cached_listing(self, redis_url: str, redis_client: Redis, worker_of: Any):
        front_end = open_front_end(redis_url)
        worker = worker_of(front_end)
        name = front_name(front_end, worker)
        worker.carry_out(accepted(front_end.client().get(f"{VOLUMES}/{name}/snapshots", headers=ASYNC)))
        state = redis_client.hgetall(f"sapi:listing:filer/volumes/{name}/snapshots")
        front_end.services.scripts.abandon_read(f"filer/volumes/{name}/snapshots")
        assert redis_client.hgetall(f"sapi:listing:filer/volumes/{name}/snapshots") == state != {}

    def test_records_of_reads_expire_before_those_of_changes(self, redis_url: str, redis_client: Redis, worker_of: Any):
        front_end = open_front_end(redis_url)
        worker = worker_of(front_end)
        name = front_name(front_end, worker)
        read = accepted(front_end.client().get(f"{VOLUMES}/{name}/locks", headers=ASYNC)).rpartition("/")[2]
        change = accepted(front_end.client().post(f"{VOLUMES}/new", json={})).rpartition("/")[2]
        kept = {}
        for job_id in (read, change):
            worker.carry_out(job_id)
            job = front_end.services.jobs.get(job_id).job  # type: ignore[union-attr]
            kept[job_id] = (job.expires_ms - job.finished_ms) / 1000  # type: ignore[operator]
        assert kept == {read: 300, change: 7 * 86400}
        read_ms, change_ms = (redis_client.pttl(f"sapi:result:{job_id}") for job_id in (read, change))
        assert 240_000 < read_ms <= 300_000 < change_ms

    def test_anonymous_reads_of_one_object_expire_soon(self, redis_url: str, redis_client: Redis, worker_of: Any):
        front_end = open_front_end(redis_url)
        worker = worker_of(front_end)
        name = front_name(front_end, worker)
        for path in (f"{VOLUMES}/{name}/snapshots", f"{VOLUMES}/{name}/locks"):
            worker.carry_out(accepted(front_end.stranger().get(path, headers=ASYNC)))
        listings = [key for key in keys(redis_client) if key.startswith(("sapi:listing:", "sapi:base:"))]
        ttls = {key: redis_client.pttl(key) for key in listings}
        of_objects = {key: ttl for key, ttl in ttls.items() if f"/{name}/" in key}
        assert len(of_objects) == 4
        # The time limit of a read is the longest of them.
        assert all(0 < ttl <= 600_000 for ttl in of_objects.values()), of_objects
        assert any(ttl > 3_600_000 for key, ttl in ttls.items() if key not in of_objects)

    def test_the_length_of_a_path_is_limited(self, small: FrontEnd):
        answer = small.stranger().get(f"{VOLUMES}/:/f1/{'q' * 7600}/snapshots", headers=ASYNC)
        assert "at most 1024 characters" in problem(answer, 422, "validation-failed")["detail"]
        assert (
            "at most 255"
            in problem(small.stranger().get(f"{VOLUMES}/{'n' * 256}:/p", headers=ASYNC), 422, "validation-failed")[
                "detail"
            ]
        )


def front_name(front_end: FrontEnd, worker: Any) -> str:
    """The name of a volume that there is."""
    worker.carry_out(accepted(front_end.client().get(VOLUMES, headers=ASYNC)))
    volumes: Any = front_end.client().get(VOLUMES).json
    return str(volumes[0]["name"])


def test_reached_limits_are_counted(small: FrontEnd):
    for number in range(3):
        ask(small.stranger(), number)
    text = small.client().get("/metrics").get_data(as_text=True)
    assert 'sapi_limits_reached_total{limit="SAPI_STRANGERS_QUEUE_SHARE"}' in text
