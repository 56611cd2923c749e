"""Requests to one filer: reads, which may be retried, and changes, which are sent at most once."""

from __future__ import annotations

import base64
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet

import orjson
import requests
from netapp_ontap.host_connection import HostConnection

from storage_backends.configuration.options import NetappOptions
from storage_backends.errors import BackendTimeout, BackendUnavailable, OutcomeUnclear, StorageError
from storage_backends.journal import Journal
from storage_backends.login_guard import LoginGuard
from storage_backends.netapp.ontap.error_codes import FieldsRefused, Translator, is_known, names_unknown_field
from storage_backends.netapp.ontap.queries import Query, url_of
from storage_backends.netapp.ontap.responses import (
    TRANSPORT_ERRORS,
    Answer,
    Json,
    NotSent,
    ResponseLost,
    Transform,
    read,
    transport_failure,
)
from storage_backends.netapp.ontap.transport import CALL, new_session
from storage_backends.netapp.ontap.url_guard import require_one

#: How often a read is retried when its response was lost or incomplete, or the filer was too busy.
_REPEATS = 2
#: Statuses after which a read is retried; and those that without an error of ONTAP's own are a proxy's.
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})
_OF_PROXIES = frozenset({404, 408, 425, 502, 504})
#: The pause before a retry without Retry-After (seconds).
_PAUSE_S = 1.0
#: A read is not retried when the job has less time left than this (seconds).
_LEAST_LEFT_S = 1.0
#: The upper limit of a Retry-After (seconds).
_MAX_PAUSE_S = 5.0
_CONNECT_S = 10.0
#: Query parameters of reads that may contain users' input.
_USERS_FIELDS = frozenset({"name", "nas.path"})


class _Connection(HostConnection):
    """The library's connection, with a session that never repeats requests; for one thread of one process."""

    def __init__(self, options: NetappOptions, password: str) -> None:
        credentials = base64.b64encode(f"{options.username}:{password}".encode()).decode()
        super().__init__(
            options.hostname or options.vserver,
            headers={"Authorization": f"Basic {credentials}"},
            verify=options.verify,  # type: ignore[arg-type]  # A path is taken as well.
            port=options.port,
            scheme=options.scheme,
        )
        self.filer_password = password
        self._request_session = new_session(self.origin)

    def begin(self, *, is_question: bool) -> None:
        """Prepare a request. A change uses a new connection, which later reads then use.

        Filers close idle connections, some after each response without notice. A read that is sent at that moment
        is retried; a change would count as in doubt, although it never arrived.
        """
        if not is_question:
            self.session.close()


class _Process:
    """The connections of one process to a filer; never used by a forked child."""

    def __init__(self, max_connections: int) -> None:
        self.pid = os.getpid()
        self.slots = threading.BoundedSemaphore(max(1, max_connections))
        self.threads = threading.local()
        self.lock = threading.Lock()
        #: The connections of live threads.
        self.connections: WeakSet[_Connection] = WeakSet()


class OntapClient:
    """The client of one filer. Thread-safe; each thread has a connection of its own, opened on first use."""

    def __init__(self, options: NetappOptions, login_guard: LoginGuard) -> None:
        self._options = options
        self._login_guard = login_guard
        self.vserver = options.vserver
        self.timeout_s = options.timeout_s
        host = options.hostname or options.vserver
        self._account = f"{host.lower()}:{options.port}/{options.username}"
        #: Names of fields that this filer does not know, or that the configuration excludes.
        self.without: frozenset[str] = frozenset(name.strip() for name in options.fields.split(",") if name.strip())
        #: Those of them that it has refused.
        self.unknown_fields: frozenset[str] = frozenset()
        #: The end of the filer's last Retry-After (monotonic seconds).
        self._busy_until = 0.0
        #: Was the account denied the list of aggregates? An account of one SVM only sees the SVM's.
        self.svm_scoped = False
        label = host.partition(".")[0]
        hidden = (host, "" if label.isdigit() else label, options.username)
        self.translator = Translator(hidden, options.password)
        self._process = _Process(options.max_connections)

    def __repr__(self) -> str:
        return f"OntapClient(vserver={self.vserver!r})"

    # --- questions

    def get(
        self, path: str, query: Query | None = None, *, journal: Journal, transform: Transform | None = None
    ) -> Json:
        """Read something below ``/api``, with retries; ``transform`` converts the body.

        Raises:
            BackendUnavailable, BackendTimeout: there is no response.
            StorageError: the filer's refusal, translated.
        """
        return self.get_url(url_of(path, query), journal=journal, transform=transform)

    def get_url(self, url: str, *, journal: Journal, transform: Transform | None = None) -> Json:
        """As ``get``, for a path and query that the filer returned."""
        repeats = _REPEATS
        while True:
            is_last = not repeats or journal.seconds_left < _LEAST_LEFT_S
            repeats -= 1
            try:
                answer = self._exchange("GET", url, None, journal, transform)
            except NotSent as failure:
                raise BackendUnavailable(f"The storage system cannot be reached: {failure}.") from None
            except ResponseLost as failure:
                if is_last:
                    raise _no_answer(failure) from None
                continue
            if answer.status == requests.codes.ok:
                return answer.body
            if is_last or not (answer.status in _TEMPORARY or answer.is_redirect):
                raise self._read_error(answer)
            journal.wait(_PAUSE_S if answer.retry_after_s is None else min(answer.retry_after_s, _MAX_PAUSE_S))

    def _read_error(self, answer: Answer) -> StorageError:
        error = answer.error
        if error is None and (answer.status in _OF_PROXIES or answer.is_redirect):
            # Not from the filer: a proxy has answered, which proves nothing.
            return BackendUnavailable(
                f"The storage system does not answer: HTTP status {answer.status} without a reason."
            )
        refusal = self.translator.error(error, status=answer.status)
        if error is not None and names_unknown_field(refusal) and error.target not in _USERS_FIELDS:
            return FieldsRefused(refusal, error)
        return refusal

    # --- changes

    def change(self, method: str, path: str, query: Query, body: Json, *, journal: Journal) -> Answer:
        """Send one change, once.

        Raises:
            BackendUnavailable, ResourceBusy: nothing happened.
            OutcomeUnclear: it was sent, and its outcome is unknown.
            StorageError: the filer's refusal, translated; nothing happened.
        """
        require_one(method, path, query)
        try:
            content = None if method == "DELETE" else body  # The published schema has no request body for it.
            answer = self._exchange(method, url_of(path, query), content, journal)
        except NotSent as failure:
            raise BackendUnavailable(f"The storage system cannot be reached: {failure}.") from None
        except ResponseLost as failure:
            raise OutcomeUnclear(f"The change was sent and no answer came: {failure.reason}.") from None
        if answer.status in {200, 201, 202}:
            return answer
        raise self._change_failed(answer)

    def _change_failed(self, answer: Answer) -> StorageError:
        error = answer.error
        if answer.is_refusal or is_known(error):
            return self.translator.error(error, status=answer.status)
        original = self.translator.original(error, answer.status)
        return OutcomeUnclear("The change was sent and the answer does not tell.", backend_error=original)

    # --- one exchange

    def _exchange(
        self, method: str, url: str, body: Json | None, journal: Journal, transform: Transform | None = None
    ) -> Answer:
        began = time.monotonic()
        self.honour_retry_after(journal)
        with self._slot() as connection:
            try:
                journal.checkpoint()  # The wait for the slot may have been long.
                # Reconciliation counts from the intent when a change can arrive no more: that includes the wait.
                waited_s = 0.0 if method == "GET" else time.monotonic() - began
                seconds = min(self.timeout_s - waited_s, journal.seconds_left)
                answer = self._send(connection, method, url, body, max(0.05, seconds), transform)
            except BaseException:
                self._login_guard.record_undecided(self._account, connection.filer_password)
                raise
            if answer.status == requests.codes.unauthorized:
                self._login_guard.record_refusal(self._account, connection.filer_password)
            else:
                self._login_guard.record_acceptance(self._account, connection.filer_password)
            if answer.status in {429, 503} and answer.retry_after_s:
                self._busy_until = time.monotonic() + min(answer.retry_after_s, _MAX_PAUSE_S)
            return answer

    def _send(
        self,
        connection: _Connection,
        method: str,
        url: str,
        body: Json | None,
        seconds: float,
        transform: Transform | None,
    ) -> Answer:
        CALL.begin(seconds)
        connection.begin(is_question=method == "GET")
        response = None
        try:
            response = connection.session.request(
                method,
                connection.origin + url,
                data=None if body is None else orjson.dumps(body),
                headers=None if body is None else {"Content-Type": "application/json"},
                timeout=(min(seconds, _CONNECT_S), seconds),
                allow_redirects=False,
                stream=True,
            )
            return read(response, is_question=method == "GET", transform=transform)
        except TRANSPORT_ERRORS as failure:
            raise transport_failure(failure) from None
        finally:
            if response is not None:
                response.close()

    def honour_retry_after(self, journal: Journal) -> None:
        """Wait for the end of the filer's last Retry-After, whichever request received it."""
        remaining_s = self._busy_until - time.monotonic()
        if remaining_s > 0:
            journal.wait(remaining_s)

    @contextmanager
    def _slot(self) -> Iterator[_Connection]:
        """Provide this thread's connection; at most ``max_connections`` calls of this process run at a time."""
        process = self._process_connections()
        if not process.slots.acquire(timeout=self.timeout_s):
            raise NotSent("too many calls of this worker are under way")
        try:
            yield self._thread_connection(process)
        finally:
            process.slots.release()

    def _process_connections(self) -> _Process:
        if self._process.pid != os.getpid():  # A child must never read from its parent's sockets.
            self._process = _Process(self._options.max_connections)
        return self._process

    def _thread_connection(self, process: _Process) -> _Connection:
        """Return this thread's connection, with the current password.

        Raises:
            BackendUnavailable: the filer refused that login, and it must not be tried again yet.
        """
        password = self._options.password.current()
        self._login_guard.require(self._account, password)
        connection: _Connection | None = getattr(process.threads, "connection", None)
        if connection is None or connection.filer_password != password:
            if connection is not None:
                connection.session.close()
            connection = process.threads.connection = _Connection(self._options, password)
            with process.lock:
                process.connections.add(connection)
        return connection

    def close(self) -> None:
        """Close this process's connections."""
        process, self._process = self._process_connections(), _Process(self._options.max_connections)
        for connection in list(process.connections):
            connection.session.close()


def _no_answer(failure: ResponseLost) -> StorageError:
    if failure.timed_out:
        return BackendTimeout("The storage system did not answer in time.")
    return BackendUnavailable(f"The storage system does not answer: {failure.reason}.")
