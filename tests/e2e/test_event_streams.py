"""Event streams of real processes: through faults, past slow readers, to the end of a process."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from api.http import stalled_clients
from tests.api.sse import EventParser
from tests.e2e.client import Client
from tests.e2e.own_stack import LIST, PASSWORD, QUICK, USER, OwnStack, own_stack

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
_LIMIT_S = 60.0


class Reader(threading.Thread):
    """Reads the stream, and goes on by the id of the last event whenever it breaks."""

    def __init__(self, client: Client) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._over = threading.Event()
        self.states: dict[str, list[str]] = defaultdict(list)
        self.ids: list[str] = []
        self.gaps = 0
        self.connections = 0
        self.connected = threading.Event()

    def run(self) -> None:
        last_id = ""
        while not self._over.is_set():
            try:
                last_id = self._read(last_id)
            except requests.RequestException:
                self._over.wait(0.2)

    def _read(self, last_id: str) -> str:
        parser = EventParser()
        parser.last_id = last_id
        headers = {"Last-Event-ID": last_id} if last_id else {}
        try:
            with self._client.get("/v4/events?all=true", headers=headers, stream=True, timeout=20) as answer:
                answer.raise_for_status()
                self.connections += 1
                for piece in answer.iter_content(None):
                    for event in parser.feed(piece):
                        self._note(event.kind, event.data, event.last_id)
                    self.connected.set()
                    if self._over.is_set():
                        break
        except requests.RequestException:
            self._over.wait(0.2)
        return parser.last_id

    def _note(self, kind: str, data: Any, event_id: str) -> None:
        self.gaps += kind == "gap"
        if kind == "job":
            self.ids.append(event_id)
            self.states[data["id"]].append(data["state"])

    def end(self) -> None:
        """Read no further than to the next piece."""
        self._over.set()

    def ended(self) -> set[str]:
        return {job_id for job_id, states in list(self.states.items()) if states[-1] in ("succeeded", "failed")}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[OwnStack]:
    with own_stack(tmp_path, {"dummy": {"volumes": 3}}, QUICK, LIST, queue_limit=100000, lease=3) as stack:
        yield stack


def until(so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while not so():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def _await_ends(reader: Reader, jobs: set[str], running: OwnStack) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while missing := jobs - reader.ended():
        # On a busy machine one may have taken its broker for silent.
        running.restart_ended(QUICK, LIST)
        if time.monotonic() > deadline:
            client = running.client()
            states = {job_id: client.get(f"/v4/jobs/{job_id}").json().get("state") for job_id in missing}
            pytest.fail(f"{states} are reported as {[reader.states.get(job_id) for job_id in missing]}")
        time.sleep(0.05)


def submit(client: Client, count: int) -> set[str]:
    """Have so many changes accepted, whatever happens meanwhile."""
    jobs: set[str] = set()
    while len(jobs) < count:
        try:
            answer = client.post(f"/v4/dummy/volumes/vol{len(jobs)}", json={"size_total": 2**20}, timeout=5)
        except requests.RequestException:
            time.sleep(0.1)
            continue
        if answer.status_code == 202:
            jobs.add(answer.json()["id"])
        else:
            time.sleep(0.1)
    return jobs


def test_every_end_is_sent_once_and_in_order_whichever_process_is_killed(running: OwnStack):
    readers = [Reader(running.client()) for _ in range(3)]
    for reader in readers:
        reader.start()
        assert reader.connected.wait(20)
    jobs = submit(running.client(), 25)
    running.kill(QUICK)
    running.start(QUICK)
    running.kill_api_workers()
    jobs |= submit(running.client(), 25)
    running.restart_redis()
    jobs |= submit(running.client(), 25)
    for reader in readers:
        _await_ends(reader, jobs, running)
        reader.end()
        assert reader.gaps == 0
        assert len(reader.ids) == len(set(reader.ids))
        assert reader.connections > 1
        for job_id in jobs:
            states = reader.states[job_id]
            assert states[0] == "queued"
            assert [state for state in states if state in ("succeeded", "failed")] == states[-1:]


def test_a_process_that_gets_sigterm_ends_its_streams(tmp_path: Path):
    # One process: another might still be starting, and miss the signal.
    with own_stack(tmp_path, {"dummy": {"volumes": 3}}, api_workers=1) as running:
        reader = Reader(running.client())
        reader.start()
        assert reader.connected.wait(20)
        api = running.processes.started["api"]
        api.send_signal(signal.SIGTERM)
        assert api.wait(15) == 0
        reader.end()


def test_a_client_that_reads_nothing_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "impatient.py").write_text(
        f"import {stalled_clients.__name__} as module\nmodule.TIMEOUT_S, module.LOOK_EVERY_S = 2, 0.2\n"
        "from api.wsgi import app\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    options: dict[str, Any] = {"api_workers": 1, "max_streams": 1, "queue_limit": 100000}
    with own_stack(tmp_path, {"dummy": {"volumes": 3}}, QUICK, application="impatient:app", **options) as running:
        client = running.client()
        with _connected(client) as stalled:
            assert client.get("/v4/events").status_code == 503
            stop = threading.Event()
            writer = threading.Thread(target=_write_much, args=(running.client(), stop), daemon=True)
            writer.start()
            until(lambda: _has_place(client), "the place is free again")
            stop.set()
            writer.join(20)
            with pytest.raises(ConnectionError):
                _drain(stalled)


def _connected(client: Client) -> socket.socket:
    """A connection with a small buffer on which the stream was requested, and from which nothing is read."""
    credentials = requests.auth._basic_auth_str(USER, PASSWORD)
    host, port = client.url.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((host, int(port)))
    connection.sendall(f"GET /v4/events HTTP/1.1\r\nHost: x\r\nAuthorization: {credentials}\r\n\r\n".encode())
    assert connection.recv(12) == b"HTTP/1.1 200"
    return connection


def _write_much(client: Client, stop: threading.Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        # A long request makes a long event.
        rules = [f"host{n}.{'x' * 60}.{'y' * 60}.example" for n in range(1000)]
        answer = client.post(f"/v4/dummy/export/p{number}", json={"rules": rules})
        assert answer.status_code == 202, answer.text


def _has_place(client: Client) -> bool:
    with client.get("/v4/events", stream=True) as answer:
        return answer.status_code == 200


def _drain(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass
    raise ConnectionResetError("it ended")
