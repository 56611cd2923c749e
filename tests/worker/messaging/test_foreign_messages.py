"""Messages that are put into a queue directly in Redis run nothing and end no worker."""

from __future__ import annotations

import base64
import json
import pickle
import threading
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery.contrib.testing.worker import start_worker

from tests.worker.harness import PREFIX
from worker.config.settings import Settings, load
from worker.messaging.app import create_celery
from worker.messaging.transport import Channel, MalformedMessage, is_task_message

QUEUE = "filer.write"
KEY = f"{PREFIX}celery:{QUEUE}"


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def message(body: bytes, kind: str = "application/json", task: object = "storage.try_it", **headers: object) -> str:
    all_headers = {"lang": "py", "task": task, "id": str(uuid.uuid4()), "root_id": None, "parent_id": None} | headers
    properties = {"delivery_info": {"routing_key": QUEUE}, "body_encoding": "base64", "delivery_tag": str(uuid.uuid4())}
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-type": kind,
            "content-encoding": "binary" if "pickle" in kind or "python" in kind else "utf-8",
            "headers": all_headers,
            "properties": properties | {"correlation_id": "x", "reply_to": "x"},
        }
    )


def malformed(path: Path) -> list[str]:
    return [
        "no JSON {",
        "null",
        "[]",
        '"text"',
        "{}",
        '{"body": 1, "properties": {}}',
        '{"body": "x", "properties": {"body_encoding": "base64", "delivery_tag": "t"}}',
        message(pickle.dumps(([Payload(path)], {}, {})), "application/x-python-serialize"),
        message(pickle.dumps(([Payload(path)], {}, {})), "application/x-python-serialize", task=None),
        message(f"!!python/object/apply:os.mkdir ['{path}']".encode(), "application/x-yaml"),
        message(b"no JSON"),
        message(b"null"),
        message(b"{}"),
        message(b"[]"),
        message(b"[1, 2, 3]"),
        message(b'[["id"], {}, {}]', task="os.system"),
        message(b'[[["id"]], {}, {}]', task="celery.map"),
        message(b'[["id", "more"], {}, {}]'),
        message(b'[["id"], {"job_id": "id"}, {}]'),
        message(b'[["id"], {}, {"callbacks": [{"task": "storage.try_it", "args": ["called back"]}]}]'),
        message(b"[" * 5000),
        message(b'[["id"], {}, {}]', task={"a": []}),
        message(b'[["id"], {}, {}]', eta="never", expires="now", timelimit=7, retries="x"),
    ]


def test_a_task_message_is_recognised(redis_client, redis_url):
    sender = create_celery(load(Settings, redis_url=redis_url, backends="filer🌈DummyStorage"))
    sender.send_task("storage.try_it", args=["id"], task_id="id", queue=QUEUE, ignore_result=True)

    assert is_task_message(json.loads(redis_client.rpop(KEY)))


@pytest.mark.parametrize(
    "header",
    [
        {"task": "os.system"}, {"task": None}, {"id": 7}, {"shadow": {}}, {"timelimit": 7}, {"timelimit": [None, 9]},
        {"eta": "never"}, {"expires": "now"}, {"retries": "x"}, {"kind": "application/x-yaml"},
    ],
)  # fmt: skip
def test_a_message_with_one_wrong_header_is_refused(header: dict[str, Any]):
    body = b'[["id"], {}, {}]'
    assert is_task_message(json.loads(message(body)))
    assert not is_task_message(json.loads(message(body, **header)))


@pytest.mark.parametrize(
    "body", [b"[[7], {}, {}]", b"[[], {}, {}]", b'[["id"], {"x": 1}, {}]', b'[["id"], {}, {"chain": [1]}]']
)
def test_the_body_of_a_message_is_one_id(body: bytes):
    assert not is_task_message(json.loads(message(body)))


def test_a_message_that_kombu_cannot_read_is_refused():
    payload = json.loads(message(b'[["id"], {}, {}]'))
    channel = SimpleNamespace(decode_body=lambda body, _encoding: base64.b64decode(body))
    assert Channel.Message(payload, channel).body == b'[["id"], {}, {}]'
    del payload["properties"]
    assert is_task_message(payload)
    with pytest.raises(MalformedMessage, match="KeyError"):
        Channel.Message(payload, channel)


@pytest.mark.filterwarnings("ignore")
def test_a_worker_continues_after_foreign_messages(redis_client, redis_url, tmp_path):
    celery = create_celery(load(Settings, redis_url=redis_url, backends="filer🌈DummyStorage"), consumed=[QUEUE])
    done, seen = threading.Event(), []

    @celery.task(name="storage.try_it")
    def try_it(job_id):
        seen.append(job_id)
        done.set()

    path = tmp_path / "proof"
    for text in malformed(path):
        redis_client.lpush(KEY, text)
    redis_client.lpush(KEY, message(b'[["good"], {}, {}]'))
    # It sets the level of the root logger, for the tests that follow in this process, too.
    with start_worker(celery, perform_ping_check=False, pool="threads", loglevel="WARNING", shutdown_timeout=20):
        assert done.wait(30)

    assert seen == ["good"]
    assert not path.exists()
