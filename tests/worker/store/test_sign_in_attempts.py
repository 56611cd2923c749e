"""Wrong passwords are counted for each user and each network, by all processes together, and without Redis by each."""

from __future__ import annotations

import pytest
import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.retry import Retry

from worker.store.sign_in_attempts import WINDOW_S, SignInAttempts

HERE, THERE = "192.0.2.1/32", "192.0.2.2/32"


class Process:
    """One process that checks passwords."""

    def __init__(self, client: redis.Redis) -> None:
        self.attempts = SignInAttempts(client, "sapi:", per_network=3, per_user=5)

    def wrong(self, user: str, network: str, times: int = 1) -> None:
        for _ in range(times):
            self.attempts.record_failure(user, network)

    def refuses(self, user: str, network: str) -> bool:
        return bool(self.attempts.limit_reached(self.attempts.counts(user, network), user, network))


def _unreachable() -> redis.Redis:
    """A client of a Redis that does not exist, which fails at once."""
    return redis.Redis("127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))


@pytest.fixture
def processes(redis_client: redis.Redis) -> tuple[Process, Process]:
    return Process(redis_client), Process(redis_client)


def test_a_network_that_tries_too_often_is_refused_by_every_process(processes: tuple[Process, Process]):
    one, other = processes
    one.wrong("svc", HERE)
    other.wrong("other", HERE)
    assert not other.refuses("svc", HERE)
    one.wrong("third", HERE)
    assert other.refuses("svc", HERE)
    assert other.refuses("nobody has tried this name", HERE)
    assert not other.refuses("nobody has tried this name", THERE)


def test_a_user_attacked_from_many_networks_is_refused_elsewhere(processes: tuple[Process, Process]):
    one, other = processes
    for number in range(5):
        one.wrong("svc", f"198.51.100.{number}/32")
    assert other.refuses("svc", THERE)
    assert not other.refuses("another", THERE)


def test_an_attacked_user_is_accepted_in_a_network_with_a_sign_in(processes: tuple[Process, Process]):
    one, other = processes
    one.attempts.record_success("svc", HERE)
    for number in range(5):
        one.wrong("svc", f"198.51.100.{number}/32")
    assert not other.refuses("svc", HERE)
    assert other.refuses("svc", THERE)
    other.wrong("svc", HERE, times=3)
    assert one.refuses("svc", HERE)


def test_the_network_of_a_sign_in_is_recorded_once_an_hour(
    processes: tuple[Process, Process], redis_client: redis.Redis
):
    attempts = processes[0].attempts
    key = attempts.keys_of("svc", HERE)[2]
    attempts.record_success("svc", HERE, attempts.counts("svc", HERE))
    redis_client.expire(key, 80_000)
    attempts.record_success("svc", HERE, attempts.counts("svc", HERE))
    assert redis_client.ttl(key) <= 80_000
    redis_client.set(key, 1)
    attempts.record_success("svc", HERE, attempts.counts("svc", HERE))
    assert redis_client.ttl(key) > 80_000


def test_counts_end_after_a_minute_despite_further_attempts(
    processes: tuple[Process, Process], redis_client: redis.Redis
):
    processes[0].wrong("svc", HERE)
    keys = redis_client.keys("sapi:attempts:*")
    assert len(keys) == 2
    assert all(WINDOW_S - 20 < redis_client.ttl(key) <= WINDOW_S for key in keys)
    redis_client.expire(keys[0], 10)
    processes[0].wrong("svc", HERE)
    assert redis_client.ttl(keys[0]) <= 10


def test_a_count_and_its_end_are_written_in_one_step(
    processes: tuple[Process, Process], monkeypatch: pytest.MonkeyPatch
):
    """A count that expired between the two would begin again without an expiry, and lock out for ever."""
    steps: list[tuple[object, list[str]]] = []
    execute = Pipeline.execute

    def watched(pipe: Pipeline, *arguments: bool) -> object:
        steps.append((pipe.transaction, [command[0][0] for command in pipe.command_stack]))
        return execute(pipe, *arguments)

    monkeypatch.setattr(Pipeline, "execute", watched)
    processes[0].wrong("svc", HERE)
    assert steps == [(True, ["SET", "INCRBY", "SET", "INCRBY"])]


def test_other_versions_of_the_service_count_under_the_same_names(processes: tuple[Process, Process]):
    assert processes[0].attempts.keys_of("svc", HERE) == (
        "sapi:attempts:network:89f0a5bea85a9a9fc18559a3c6d39780",
        "sapi:attempts:user:348c658682ae8701d3e9d21f19187249",
        "sapi:attempts:known:71373b00ef4954b34b166a8c0f16756f",
    )


@pytest.mark.parametrize("user", ["\udce4", "ä", ""])
def test_names_of_any_characters_are_counted(processes: tuple[Process, Process], user: str):
    """Such as those that a request had in another encoding."""
    processes[0].wrong(user, HERE, times=3)
    assert processes[1].refuses(user, HERE)


@pytest.mark.parametrize("now_s", [6000.0, 30.0], ids=["later", "in the first minute of the machine"])
def test_without_redis_each_process_counts_alone(monkeypatch: pytest.MonkeyPatch, now_s: float):
    # A count begins anew with each minute.
    monkeypatch.setattr("worker.store.sign_in_attempts.time.monotonic", lambda: now_s)
    process = Process(_unreachable())
    process.wrong("svc", HERE, times=2)
    assert not process.refuses("svc", HERE)
    process.wrong("svc", HERE)
    assert process.refuses("svc", HERE)
    assert not process.refuses("svc", THERE)
    # From however many networks they come, five are the most for one user.
    for network in ("192.0.2.3/32", "192.0.2.4/32"):
        process.wrong("svc", network)
    assert process.refuses("svc", THERE)
    assert not process.refuses("other", THERE)


def test_a_redis_that_refuses_writes_does_not_disable_the_limit(redis_client: redis.Redis):
    process = Process(redis_client)
    redis_client.config_set("min-replicas-to-write", 1)
    try:
        process.wrong("svc", HERE, times=3)
        assert process.refuses("svc", HERE)
    finally:
        redis_client.config_set("min-replicas-to-write", 0)


class CountedRedis:
    """A Redis that can be unavailable; counts its requests."""

    def __init__(self, client: redis.Redis) -> None:
        self.client, self.is_away, self.asked = client, False, 0

    def __getattr__(self, name: str) -> object:
        self.asked += 1
        if self.is_away:
            raise redis.ConnectionError("away")
        return getattr(self.client, name)


def test_an_unavailable_redis_is_not_tried_for_some_seconds(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch):
    clock = [1000.0]
    monkeypatch.setattr("worker.store.sign_in_attempts.time.monotonic", lambda: clock[0])
    for act in ("counts", "record_failure", "record_success"):
        counted = CountedRedis(redis_client)
        attempts = SignInAttempts(counted, "sapi:", per_network=3, per_user=5)  # type: ignore[arg-type]
        counted.is_away = True
        for _ in range(3):
            getattr(attempts, act)("svc", HERE)
        assert counted.asked == 1, act
        counted.is_away = False
        clock[0] += 4.9
        assert attempts.counts("svc", HERE) is None
        clock[0] += 0.2
        assert attempts.counts("svc", HERE) is not None
        getattr(attempts, act)("svc", HERE)
        assert counted.asked == 3, act


def test_counts_of_a_process_alone_end_with_the_minute(monkeypatch: pytest.MonkeyPatch):
    clock = [6000.0]
    monkeypatch.setattr("worker.store.sign_in_attempts.time.monotonic", lambda: clock[0])
    process = Process(_unreachable())
    process.wrong("svc", HERE, times=3)
    assert process.refuses("svc", HERE)
    clock[0] += 59
    assert process.refuses("svc", HERE)
    clock[0] += 1
    assert not process.refuses("svc", HERE)


def test_the_reached_limit_is_reported(redis_client: redis.Redis):
    process = Process(redis_client)
    process.wrong("svc", HERE, times=2)
    for number in range(2):
        process.wrong("svc", f"198.51.100.{number}/32")
    assert [
        process.attempts.limit_reached(process.attempts.counts("svc", where), "svc", where) for where in (HERE, THERE)
    ] == ["", ""]
    process.wrong("svc", HERE)
    limits = [
        process.attempts.limit_reached(process.attempts.counts("svc", where), "svc", where) for where in (HERE, THERE)
    ]
    assert limits == ["SAPI_SIGN_IN_NETWORK_LIMIT", "SAPI_SIGN_IN_USER_LIMIT"]


def test_a_limit_of_one_allows_one_wrong_password(redis_client: redis.Redis):
    one, other = (SignInAttempts(redis_client, "sapi:", per_network=1, per_user=1) for _ in range(2))
    assert one.limit_reached(one.counts("svc", HERE), "svc", HERE) == ""
    one.record_failure("svc", HERE)
    reached = [other.limit_reached(other.counts("svc", network), "svc", network) for network in (HERE, THERE)]
    assert reached == ["SAPI_SIGN_IN_NETWORK_LIMIT", "SAPI_SIGN_IN_USER_LIMIT"]
