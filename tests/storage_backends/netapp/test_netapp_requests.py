"""Requests to a filer one by one: which reads are repeated, whose fault a refused one is, and what stays open."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from storage_backends.base import StorageBackend
from storage_backends.errors import BackendUnavailable, NoSuchVolume, NotSupported, StorageError
from storage_backends.journal import InMemoryJournal
from storage_backends.netapp import NetappStorage
from storage_backends.netapp.ontap import client, transport
from storage_backends.netapp.ontap.lookups import volume_by_uuid
from storage_backends.netapp.ontap.transport import CALL, OntapAdapter
from storage_backends.netapp.ontap.unknown_fields import ask
from tests.ontap_simulator import Dialect, Kind, Simulator
from tests.ontap_simulator.errors import Refusal
from tests.ontap_simulator.exchange import Reply, Request
from tests.storage_backends.netapp.changes import attempt, furnish
from tests.storage_backends.netapp.concurrent_changes import after_each
from tests.storage_backends.netapp.signed_in_drivers import open_backend


class _Prompt(InMemoryJournal):
    """Does not wait."""

    def wait(self, seconds: float) -> None:
        assert seconds > 0


@pytest.mark.parametrize("hostname", ["https://filer.test", "filer.test:8443", "a filer", f"{'a' * 64}.test"])
def test_an_invalid_hostname_is_reported_as_the_reason(hostname: str, ontap: Simulator) -> None:
    with pytest.raises(BackendUnavailable, match="what `hostname` says is no name"):
        open_backend(ontap, hostname=hostname).list_volumes(journal=InMemoryJournal())


@pytest.mark.parametrize(
    ("status", "times"),
    [
        *((status, 1) for status in (400, 403, 405, 501)),
        *((status, 3) for status in (408, 425, 429, 500, 502, 503, 504)),
    ],
)
def test_a_read_is_sent_three_times_where_the_filer_may_answer_later(
    status: int, times: int, ontap: Simulator, backend: StorageBackend
) -> None:
    fault = ontap.fault(Kind.REFUSE, method="GET", times=9, status=status, code=65541)
    with pytest.raises(StorageError):
        backend.list_policies(journal=_Prompt())
    assert len(ontap.requests) == times
    ontap.requests.clear()
    fault.times = times - 1
    assert [policy.name for policy in backend.list_policies(journal=_Prompt())] == ["default"]


def test_a_read_is_not_repeated_in_the_last_second_of_its_job(ontap: Simulator, backend: StorageBackend) -> None:
    class Ending(_Prompt):
        seconds_left = 0.9

    ontap.fault(Kind.DROP, method="GET")
    with pytest.raises(StorageError):
        backend.list_policies(journal=Ending())
    assert len(ontap.requests) == 1


def test_the_wait_for_a_connection_is_part_of_a_change_s_time(
    backend: NetappStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reconciliation counts from the intent, which is recorded before the wait, when a change can arrive no more."""
    now_s = [1000.0]
    limits_s: list[float] = []
    slots = backend._client._process.slots
    monkeypatch.setattr(client, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    monkeypatch.setattr(CALL, "begin", limits_s.append)

    def acquired(*, timeout: float) -> bool:
        now_s[0] += 4.0
        return True

    monkeypatch.setattr(slots, "acquire", acquired)
    monkeypatch.setattr(slots, "release", lambda: None)

    backend.create_policy("new", rules=[], journal=_Prompt())

    assert (min(limits_s), max(limits_s), limits_s.count(1.0)) == (1.0, 5.0, 1)


def test_a_call_whose_time_is_over_reads_no_further() -> None:
    CALL.begin(0.0)
    with pytest.raises(TimeoutError):
        CALL.remaining()
    CALL.begin(60.0)
    assert 0 < CALL.remaining() <= 60


def test_readers_of_a_socket_do_not_keep_it_open() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        reader = transport._BoundedReader(ours)
        ours.close()
        assert ours.fileno() >= 0  # An answer may still be read.
        reader.close()
    assert (reader.closed, ours.fileno()) == (True, -1)


@pytest.mark.parametrize(
    ("target", "code"), [("name", "validation-failed"), ("nas.path", "validation-failed"), ("fields", "backend-error")]
)
def test_a_refused_name_is_its_user_s_fault_and_a_refused_field_the_service_s(
    target: str, code: str, ontap: Simulator, backend: StorageBackend
) -> None:
    def refuse(request: Request, reply: Reply) -> Reply:
        return Reply(400, Refusal(262197, "The value is invalid.", target=target).body())

    after_each(ontap, refuse)
    with pytest.raises(StorageError) as refused:
        backend.get_volume("home", journal=InMemoryJournal())
    assert refused.value.code == code


@pytest.mark.parametrize("kind", [Kind.TRUNCATE, Kind.REFUSE, Kind.WEB_PAGE])
def test_each_answer_is_closed_also_one_that_broke_off(
    kind: Kind, ontap: Simulator, backend: StorageBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise its connection stays open until Python collects it."""
    closed: list[int] = []
    close = requests.Response.close

    def noting(self: requests.Response) -> None:
        closed.append(self.status_code)
        close(self)

    monkeypatch.setattr(requests.Response, "close", noting)
    fault: dict[str, Any] = {"times": 2, "status": 503, "code": 7}
    ontap.fault(kind, method="GET", **fault)
    backend.list_policies(journal=_Prompt())
    assert closed == [200 if kind is Kind.TRUNCATE else 503] * 2 + [200]


def test_a_field_that_the_filer_names_is_left_out_at_once(ontap: Simulator, backend: StorageBackend) -> None:
    ontap.world.add_volume("home")
    ontap.world.unknown_fields = frozenset({"qos.policy.name"})
    assert [volume.name for volume in backend.list_volumes(journal=InMemoryJournal())] == ["home"]
    assert len(ontap.requests) == 2


def test_a_field_that_it_does_not_name_is_searched_for_also_where_no_other_is_optional(
    ontap: Simulator, backend: NetappStorage
) -> None:
    ontap.world.add_volume("home")
    ontap.world.unknown_fields, ontap.world.is_vague_about_fields = frozenset({"qos.policy.name"}), True
    fields = ("name", "qos.policy.name")
    answer = ask(backend._client, "/storage/volumes", {}, fields, journal=InMemoryJournal())
    assert [record["name"] for record in answer["records"]] == ["home"]


@pytest.mark.parametrize("missing", ["generation", "major", "minor"])
def test_a_release_of_which_a_part_is_missing_is_not_taken_for_an_old_one(
    missing: str, ontap: Simulator, backend: StorageBackend
) -> None:
    def partly(request: Request, reply: Reply) -> None:
        reply.body.get("version", {}).pop(missing, None)

    ontap.world.version = (9, 9, 1)
    after_each(ontap, partly)
    assert backend.check() == ()


def test_a_release_that_cannot_be_read_now_is_read_again(ontap: Simulator, backend: StorageBackend) -> None:
    ontap.world.version = (9, 9, 1)
    ontap.fault(Kind.REFUSE, path="/cluster", status=400, code=65541)
    with pytest.raises(StorageError, match="refused"):
        backend.check()
    with pytest.raises(NotSupported):
        backend.check()


def test_a_volume_that_is_deleted_meanwhile_is_not_there(ontap: Simulator, backend: NetappStorage) -> None:
    with pytest.raises(NoSuchVolume):
        volume_by_uuid(backend._client, "0", journal=InMemoryJournal())
    ontap.world.vservers["vs1"] = "stopped"
    with pytest.raises(BackendUnavailable):
        volume_by_uuid(backend._client, "0", journal=InMemoryJournal())


class _SilentServer(Dialect):
    """Answers have no body."""

    def packed(self, content: bytes) -> tuple[bytes, dict[str, str]]:
        return b"", {"Content-Length": "0"}


def test_an_empty_answer_is_the_end_of_a_change_and_none_to_a_read(ontap: Simulator, backend: NetappStorage) -> None:
    policy = ontap.world.add_policy(ontap.world.vserver, "team", [])
    ontap.dialect = _SilentServer()
    path = f"/protocols/nfs/export-policies/{policy['id']}"
    assert backend._client.change("DELETE", path, {}, {}, journal=InMemoryJournal()).status == 200
    with pytest.raises(BackendUnavailable, match="broke off"):
        backend.list_policies(journal=_Prompt())
    assert len(ontap.requests) == 1 + 3


def test_a_filer_without_a_host_of_its_own_is_reached_by_its_vserver_s_name(ontap: Simulator) -> None:
    ontap.world.rename_vserver("vs1", "localhost")
    backend = open_backend(ontap, vserver="localhost", hostname="")
    assert backend.check() == ()
    assert backend._client.translator.clean("no localhost here") == "no ... here"


def test_only_what_has_a_body_says_that_it_is_json(ontap: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[str, str | None]] = set()
    send = OntapAdapter.send

    def noting(self: OntapAdapter, request: Any, **options: Any) -> Any:
        seen.add((request.method, request.headers.get("Content-Type")))
        return send(self, request, **options)

    monkeypatch.setattr(OntapAdapter, "send", noting)
    furnish(ontap)
    backend = open_backend(ontap)
    for change in ("make snapshot", "update", "delete snapshot"):
        assert attempt(backend, change)[1] is None
    assert seen == {("GET", None), ("POST", "application/json"), ("PATCH", "application/json"), ("DELETE", None)}


def test_a_change_that_finds_no_filer_was_not_made(ontap: Simulator, backend: NetappStorage) -> None:
    ontap.close()
    with pytest.raises(BackendUnavailable, match="cannot be reached: its host refuses connections"):
        backend._client.change("DELETE", "/storage/volumes/1/snapshots/2", {}, {}, journal=InMemoryJournal())


def test_the_filer_names_its_job_at_once(ontap: Simulator) -> None:
    """Any worker can read the outcome of a job whose uuid is known."""
    furnish(ontap)
    backend = open_backend(ontap)
    for change in ("create", "clone", "update", "make snapshot", "purge", "restrict"):
        assert attempt(backend, change)[1] is None
    assert {dict(seen.query).get("return_timeout") for seen in ontap.changes_sent()} == {"0"}
