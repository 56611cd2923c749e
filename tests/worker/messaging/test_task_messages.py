"""A message that is written with its job is the message that Celery would have sent."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from redis import Redis

from tests.worker.harness import PREFIX
from worker.catalog.operations import CREATE_VOLUME, LIST_VOLUMES, Operation
from worker.config.settings import Settings, load
from worker.jobs.ids import JobIds
from worker.jobs.service import Jobs, NewJob
from worker.messaging import publisher as publishing
from worker.messaging.app import create_celery
from worker.messaging.messages import TaskMessage, publish_message
from worker.messaging.publisher import TaskPublisher, create_publisher
from worker.messaging.transport import is_task_message
from worker.store.results import SubmitOutcome
from worker.store.scripts import JobScripts

QUEUE = "filer.write"
KEY = f"{PREFIX}celery:{QUEUE}"


@pytest.fixture
def settings(redis_url) -> Settings:
    return load(Settings, redis_url=redis_url)


@pytest.fixture
def jobs(redis_client, settings) -> Jobs:
    return Jobs(redis_client, JobScripts(redis_client, PREFIX), JobIds(b"secret"), create_publisher(settings), settings)


def new(operation: Operation, *, key: str = "", session: str = "") -> NewJob:
    arguments = {} if operation is LIST_VOLUMES else {"volume": "vol"}
    return NewJob(
        operation=operation, subsystem="filer", arguments=arguments, request=arguments, target="/", requester="ann",
        request_id="r", idempotency_key=key, request_hash=session,
    )  # fmt: skip


def test_messages_are_those_that_celery_sends(redis_client, settings):
    celery = create_celery(settings)
    publisher = create_publisher(settings)
    for number in range(3):
        message = TaskMessage(str(JobIds(b"secret").new()), QUEUE, ("create_volume", "update_volume")[number % 2])
        with celery.connection_for_write() as connection, celery.amqp.Producer(connection) as producer:
            publish_message(celery, producer, message)
        sent, written = json.loads(redis_client.rpop(KEY)), json.loads(publisher.message_for(message))
        assert written["properties"].pop("delivery_tag") == message.job_id
        assert sent["properties"].pop("delivery_tag")
        # Their reply address is the process and thread that made them; no reply is sent.
        assert sent["properties"].pop("reply_to")
        assert written["properties"].pop("reply_to")
        assert written == sent
        assert is_task_message(written)


def test_an_accepted_job_is_published_once(redis_client, jobs):
    first = jobs.accept(new(CREATE_VOLUME, key="k", session="this"))
    again = jobs.accept(new(CREATE_VOLUME, key="k", session="this"))
    other = jobs.accept(new(CREATE_VOLUME, key="k", session="that"))

    assert [answer[0] for answer in (first, again, other)] == [
        SubmitOutcome.NEW,
        SubmitOutcome.REPLAYED,
        SubmitOutcome.REUSED,
    ]
    # What would be published besides has been by then.
    jobs._publisher.close()
    (message_for,) = redis_client.lrange(KEY, 0, -1)
    assert json.loads(message_for)["headers"]["id"] == first[1]


def test_a_joined_read_is_published_once(redis_client, jobs):
    outcomes = [jobs.accept(new(LIST_VOLUMES))[0] for _ in range(3)]

    assert outcomes == [SubmitOutcome.NEW, SubmitOutcome.COALESCED, SubmitOutcome.COALESCED]
    jobs._publisher.close()
    assert redis_client.llen(f"{PREFIX}celery:filer.list") == 1


@pytest.mark.parametrize("more", [{"broker_url": "amqp://127.0.0.1:1//"}, {"wait_replicas": 1}])
def test_a_message_is_sent_after_the_job_where_it_cannot_be_written_with_it(redis_url, more):
    publisher = create_publisher(load(Settings, redis_url=redis_url, **more))

    assert publisher.message_for(TaskMessage("id", QUEUE, "create_volume")) == ""


def test_a_message_that_cannot_be_published_is_tried_twice_and_delays_no_other(settings: Settings, monkeypatch: Any):
    attempts, is_published = list[str](), threading.Event()

    def publish(_celery: Any, _producer: Any, message: TaskMessage) -> None:
        attempts.append(message.job_id)
        if message.job_id == "good":
            is_published.set()
        elif len(attempts) < 4:
            raise ConnectionError("the broker does not take it")

    monkeypatch.setattr(publishing, "publish_message", publish)
    publisher = create_publisher(settings)
    publisher.publish_soon([TaskMessage(job_id, QUEUE, "create_volume") for job_id in ("bad", "good")])
    assert is_published.wait(20)
    publisher.close()
    assert attempts == ["bad", "bad", "good"]
    assert publisher._thread is not None
    assert not publisher._thread.is_alive()


def test_no_request_waits_for_a_busy_publisher(settings: Settings, monkeypatch: Any):
    go_on, published = threading.Event(), list[str]()

    def publish(_celery: Any, _producer: Any, message: TaskMessage) -> None:
        assert go_on.wait(20)
        published.append(message.job_id)

    monkeypatch.setattr(publishing, "publish_message", publish)
    publisher = TaskPublisher(create_celery(settings), limit=2)
    messages = [TaskMessage(str(number), QUEUE, "create_volume") for number in range(9)]
    accepting = threading.Thread(target=publisher.publish_soon, args=(messages,), daemon=True)
    accepting.start()
    accepting.join(10)
    is_accepted = not accepting.is_alive()
    go_on.set()
    publisher.close()
    assert is_accepted
    # One was being published perhaps, and two were waiting.
    assert 2 <= len(published) <= 3


@pytest.mark.parametrize("is_full", [True, False])
def test_a_publisher_knows_whether_its_last_message_was_published(
    settings: Settings, redis_client: Redis, is_full: bool
):
    publisher = create_publisher(settings)
    publisher.is_failing = not is_full
    redis_client.config_set("maxmemory", 1 if is_full else 0)
    try:
        publisher.publish_soon([TaskMessage("id", QUEUE, "create_volume")])
        publisher.close(timeout_s=20)
    finally:
        redis_client.config_set("maxmemory", 0)
    assert publisher.is_failing is is_full
