"""What an answer of the filer proves, by itself: refusals, lost connections, and texts that must stay secret."""

from __future__ import annotations

import errno
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import urllib3

from storage_backends.configuration.options import NetappOptions
from storage_backends.configuration.secret import Secret
from storage_backends.errors import AlreadyExists, BackendError, BackendUnavailable, OutcomeUnclear, StorageError
from storage_backends.journal import InMemoryJournal
from storage_backends.login_guard import LoginGuard
from storage_backends.netapp.ontap.client import OntapClient
from storage_backends.netapp.ontap.error_codes import (
    FieldsRefused,
    Translator,
    is_forbidden,
    is_no_operation,
    names_unknown_field,
)
from storage_backends.netapp.ontap.responses import Answer, NotSent, OntapError, ResponseLost, read, transport_failure
from storage_backends.netapp.ontap.transport import CALL, new_session
from tests.ontap_simulator import Kind, Simulator
from tests.storage_backends.netapp.changes import attempt, furnish
from tests.storage_backends.netapp.signed_in_drivers import open_backend


@pytest.mark.parametrize(
    ("status", "is_ontaps", "is_refusal"),
    [
        (400, True, True), (400, False, False), (404, False, False), (409, True, True), (499, True, True),
        (408, True, False),  # After a timeout nothing is known about the change.
        (500, True, False), (502, False, False), (504, False, False), (200, True, False),
        *((status, False, True) for status in (401, 403, 413, 414, 429, 431, 503)),
    ],
)  # fmt: skip
def test_statuses_that_prove_that_nothing_was_done(status: int, is_ontaps: bool, is_refusal: bool) -> None:
    assert Answer(status, {"error": {"code": "4711"}} if is_ontaps else {}).is_refusal is is_refusal


@pytest.mark.parametrize(
    ("code", "number"),
    [("42", 42), (42, 42), ("", None), ("a1", None), ("\u0664", None), ("9" * 19, None), (None, None)],
)
def test_a_code_is_a_number(code: Any, number: int | None) -> None:
    error = Answer(400, {"error": {"code": code, "message": None, "target": "name"}}).error
    assert error == OntapError(number, "", "name")
    assert Answer(400, {"error": "no"}).error is None


@pytest.mark.parametrize(
    ("pause", "seconds"),
    [("7", 7.0), ("0", 0.0), ("", None), ("soon", None), ("-1", None), ("1.5", None), ("\xb2", None), ("9" * 19, None)],
)
def test_retry_after_is_read_as_whole_seconds(pause: str, seconds: float | None) -> None:
    response: Any = SimpleNamespace(status_code=503, content=b"", headers={"Retry-After": pause} if pause else {})
    assert read(response, is_question=False).retry_after_s == seconds


def test_a_refusal_with_a_code_is_one_with_any_status(ontap: Simulator) -> None:
    furnish(ontap)
    backend = open_backend(ontap)
    ontap.fault(Kind.REFUSE, method="POST", status=500, code=917526)
    assert isinstance(attempt(backend, "create")[1], AlreadyExists)
    ontap.fault(Kind.REFUSE, method="POST", status=408, code=4711)
    error = attempt(backend, "create")[1]
    assert isinstance(error, OutcomeUnclear)
    assert error.backend_error is not None
    assert error.backend_error.code == "4711"


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (urllib3.exceptions.NewConnectionError(Any, "no"), "it does not take connections"),  # type: ignore[arg-type]
        (requests.ConnectTimeout(), "it does not take connections in time"),
        (OSError(errno.ENETUNREACH, "no"), "there is no network route to it"),
        (ConnectionResetError(), "its host cuts new connections"),
    ],
)
def test_reasons_why_nothing_was_sent(cause: Exception, reason: str) -> None:
    CALL.begin(1.0)
    failure = transport_failure(requests.ConnectionError(cause))
    assert (type(failure), str(failure)) == (NotSent, reason)
    CALL.sent = True
    assert isinstance(transport_failure(requests.ConnectionError(cause)), ResponseLost)


def test_a_request_whose_sending_broke_off_may_have_arrived() -> None:
    class Broken:
        def sendall(self, data: bytes) -> None:
            raise BrokenPipeError

    CALL.begin(1.0)
    (pool,) = new_session("http://filer").adapters.values()
    connection = pool.poolmanager.connection_from_url("http://filer").ConnectionCls("filer")  # type: ignore[attr-defined]
    connection.sock = Broken()
    with pytest.raises(BrokenPipeError):
        connection.send(b"PATCH")
    assert CALL.sent


def test_a_session_connects_to_its_filer_only() -> None:
    session = new_session("https://filer")
    assert not session.trust_env  # Neither proxies nor passwords from the surroundings.
    with pytest.raises(requests.exceptions.InvalidSchema):
        session.get_adapter("https://elsewhere")


@pytest.mark.parametrize(
    ("status", "code", "is_denied"),
    [(403, 6, True), (403, 6691623, True), (403, None, True), (401, 6691623, False), (401, 6, False), (400, 4, False)],
)
def test_a_refused_login_is_no_missing_right(status: int, code: int | None, is_denied: bool) -> None:
    error = Translator(()).error(None if code is None else OntapError(code, "no"), status=status)
    assert is_forbidden(error) is is_denied
    assert (error.code == "backend-unavailable") is (status == 401)


@pytest.mark.parametrize(
    ("status", "code", "is_lacking"), [(405, 3, True), (405, None, True), (501, None, True), (400, 4, False)]
)
def test_a_filer_that_lacks_an_operation_says_so(status: int, code: int | None, is_lacking: bool) -> None:
    error = Translator(()).error(None if code is None else OntapError(code, "no"), status=status)
    assert is_no_operation(error) is is_lacking


@pytest.mark.parametrize("question", [is_forbidden, is_no_operation, names_unknown_field])
def test_a_failure_without_an_answer_of_the_filer_has_none_of_its_reasons(question: Any) -> None:
    assert question(StorageError("It broke off.")) is False


def test_a_job_that_fails_without_a_code_keeps_its_message() -> None:
    error = Translator(()).error(OntapError(None, "No such luck."))
    assert (error.code, error.backend_error) == ("backend-error", BackendError("unknown", "No such luck."))


def test_a_temporary_lock_of_the_filer_is_retryable() -> None:
    error = Translator(()).error(OntapError(1, "The volume is temporarily locked."))
    assert (error.code, error.retryable) == ("resource-busy", True)


@pytest.mark.parametrize("code", [460770, 917536, 524511, 524597, 524819])
def test_the_reason_inside_a_general_code_is_used(code: int) -> None:
    missing = OntapError(code, 'Cannot go back. Reason: Snapshot "s" does not exist.')
    assert Translator(()).error(missing).code == "no-such-snapshot"
    assert Translator(()).error(replace(missing, code=4711)).code == "backend-error"
    for other in ("no space", 'Volume "v" does not exist', 'Snapshot "s" is in use'):
        reason = OntapError(code, f"Cannot go back. Reason: {other}.")
        assert Translator(()).error(reason).code == "backend-error"


def test_messages_of_the_filer_are_truncated_and_keep_field_names() -> None:
    clean = Translator(()).clean
    assert clean("x" * 600) == "x" * 500
    assert clean("no space.snapshot.reserve_percent at a.b.example") == "no space.snapshot.reserve_percent at <host>"
    assert Translator((), Secret("hunter2")).clean("hunter2 hunter22") == "... hunter22"


@pytest.mark.parametrize(
    ("hostname", "message", "expected"),
    [
        ("filer01.example.org", "api on filer01 has 10 volumes", "... on ... has 10 volumes"),
        ("10.1.2.3", "api on 10.1.2.3 has 10 volumes", "... on ... has 10 volumes"),
    ],
)
def test_the_client_hides_its_host_and_account(hostname: str, message: str, expected: str) -> None:
    options = NetappOptions(username="api", password=Secret("p"), vserver="vs1", hostname=hostname)
    assert OntapClient(options, LoginGuard()).translator.clean(message) == expected


def test_fields_are_refused_by_their_name_or_their_parent_s() -> None:
    refusal = FieldsRefused(StorageError("no"), OntapError(262197, 'The value "space" is not possible'))
    assert refusal.refused_among(["space.used", "space", "spaces", "name"]) == {"space.used", "space"}
    refusal = FieldsRefused(StorageError("no"), OntapError(262197, "There is neither space.used nor qos."))
    assert refusal.refused_among(["space.used", "space.size", "name"]) == {"space.used"}


class _RecordingGuard(LoginGuard):
    """Records what it would share with other processes."""

    def __init__(self) -> None:
        super().__init__()
        self.shared: list[str] = []

    def share_refusal(self, account: str, password_fingerprint: str, wait_s: float) -> None:
        self.shared.append(f"refused {account}")

    def share_undecided(self, account: str, password_fingerprint: str) -> None:
        self.shared.append(f"undecided {account}")

    def share_acceptance(self, account: str, password_fingerprint: str) -> None:
        self.shared.append(f"accepted {account}")


def test_each_response_is_reported_to_the_login_guard(ontap: Simulator) -> None:
    guard = _RecordingGuard()
    backend = open_backend(ontap, login_guard=guard)
    account = f"127.0.0.1:{ontap.port}/storage-api"
    ontap.fault(Kind.DROP, method="GET", times=3)
    with pytest.raises(BackendUnavailable):
        backend.list_policies(journal=InMemoryJournal())
    assert set(guard.shared) == {f"undecided {account}"}
    guard.shared.clear()
    for _ in range(2):
        backend.list_policies(journal=InMemoryJournal())
    ontap.fault(Kind.DROP, method="GET")
    backend.list_policies(journal=InMemoryJournal())
    assert guard.shared == [f"accepted {account}"]
    ontap.fault(Kind.REFUSE, method="GET", status=401, code=6691623)
    with pytest.raises(BackendUnavailable):
        backend.list_policies(journal=InMemoryJournal())
    assert guard.shared[1:] == [f"refused {account}"]


def test_excluded_fields_are_never_requested(ontap: Simulator) -> None:
    ontap.world.add_volume("home")
    backend = open_backend(ontap, fields="qos.policy.name, space.used ,")
    assert backend.list_volumes(journal=InMemoryJournal())[0].size_used is None
    (question,) = [dict(seen.query) for seen in ontap.requests if seen.path == "/storage/volumes"]
    assert {"qos.policy.name", "space.used"}.isdisjoint(question["fields"].split(","))
    assert backend.check() == ()  # Nothing that the filer has refused.


@pytest.mark.parametrize("is_vague", [False, True])
def test_a_filer_that_refuses_what_every_record_needs_shows_no_empty_listing(is_vague: bool, ontap: Simulator) -> None:
    ontap.world.add_volume("home")
    ontap.world.unknown_fields = frozenset({"uuid", "name"})
    ontap.world.is_vague_about_fields = is_vague
    with pytest.raises(StorageError) as refusal:
        open_backend(ontap).list_volumes(journal=InMemoryJournal())
    assert refusal.value.code == "backend-error"
