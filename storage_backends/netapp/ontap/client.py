"""The filer as the driver sees it: questions that may be asked again, and changes that are sent once or not at all."""

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
from storage_backends.errors import BackendError, BackendTimeout, BackendUnavailable, OutcomeUnclear, StorageError
from storage_backends.journal import Journal
from storage_backends.netapp.ontap.error_codes import Translator, is_known
from storage_backends.netapp.ontap.queries import Query, url_of
from storage_backends.netapp.ontap.responses import (
    TROUBLE,
    Answer,
    Json,
    NoAnswer,
    NotSent,
    Shape,
    read,
    refuses,
    trouble_of,
)
from storage_backends.netapp.ontap.transport import CALL, new_session
from storage_backends.netapp.ontap.url_guard import require_one

#: How often a question is asked again when its answer broke off or the filer was too busy.
_ASK_AGAIN = 2
#: How long a question waits before it is asked again, where the filer does not say, in seconds.
_PAUSE_S = 1.0
#: The longest that anything waits because the filer said Retry-After, in seconds.
_LONGEST_PAUSE_S = 5.0
_CONNECT_S = 10.0


class _Connection(HostConnection):
    """The library's connection, over a session that re-sends nothing; for one thread of one process."""

    def __init__(self, options: NetappOptions) -> None:
        secret = base64.b64encode(f"{options.username}:{options.password}".encode()).decode()
        super().__init__(
            options.hostname or options.vserver,
            headers={"Authorization": f"Basic {secret}"},
            verify=options.verify,  # type: ignore[arg-type]  # A path is taken as well.
            port=options.port,
            scheme=options.scheme,
        )
        self._request_session = new_session(self.origin)

    def begin(self, *, is_question: bool) -> None:
        """Get ready for an exchange. A change goes over a connection of its own, which later questions then use.

        Filers close connections that are idle, some without a word after each answer. A question that crosses with that
        is asked again; a change would count as lost on its way, though it never arrived.
        """
        if not is_question:
            self.session.close()


class _Process:
    """What one process holds of a filer; never used by a child that was forked from it."""

    def __init__(self, max_connections: int) -> None:
        self.pid = os.getpid()
        self.slots = threading.BoundedSemaphore(max(1, max_connections))
        self.threads = threading.local()
        self.lock = threading.Lock()
        #: Those of threads that still live.
        self.connections: WeakSet[_Connection] = WeakSet()


class Filer:
    """One filer. Used by many threads; each has a connection of its own, made when it first needs one."""

    def __init__(self, options: NetappOptions) -> None:
        self._options = options
        self.vserver = options.vserver
        self.timeout_s = options.timeout_s
        host = options.hostname or options.vserver
        #: Names of fields that this filer does not know, or that the configuration leaves out.
        self.without: frozenset[str] = frozenset(name.strip() for name in options.fields.split(",") if name.strip())
        #: Until when the filer asked to be left alone, on the monotonic clock.
        self._busy_until = 0.0
        #: Was the account refused a look at the aggregates? One of a vserver alone sees those of the vserver.
        self.confined = False
        label = host.partition(".")[0]
        hidden = (host, "" if label.isdigit() else label, options.username, options.password)
        self.translator = Translator(hidden)
        self._process = _Process(options.max_connections)

    def __repr__(self) -> str:
        return f"Filer(vserver={self.vserver!r})"

    # --- questions

    def get(self, path: str, query: Query | None = None, *, journal: Journal, shape: Shape | None = None) -> Json:
        """Ask for something below ``/api``, made into what ``shape`` makes of it; asked again when that may help.

        Raises:
            BackendUnavailable, BackendTimeout: no answer.
            StorageError: the filer's refusal, translated.
        """
        return self.get_url(url_of(path, query), journal=journal, shape=shape)

    def get_url(self, url: str, *, journal: Journal, shape: Shape | None = None) -> Json:
        """As ``get``, for a path and query as the filer gave them."""
        for again in range(_ASK_AGAIN, -1, -1):
            try:
                answer = self._exchange("GET", url, None, journal, shape)
            except NotSent as failure:
                raise BackendUnavailable(f"The storage system cannot be reached: {failure}.") from None
            except NoAnswer as failure:
                if failure.timed_out:
                    raise BackendTimeout("The storage system did not answer in time.") from None
                if not again:
                    raise BackendUnavailable(f"The storage system does not answer: {failure.reason}.") from None
                continue
            if answer.status == requests.codes.ok:
                return answer.body
            if not (again and answer.status in {429, 500, 502, 503, 504}):
                raise self._question_failed(answer)
            journal.wait(_PAUSE_S if answer.retry_after_s is None else min(answer.retry_after_s, _LONGEST_PAUSE_S))
        raise AssertionError("not reached")

    def _question_failed(self, answer: Answer) -> StorageError:
        code, message = answer.error
        if code is None and answer.status in {502, 504}:
            return BackendUnavailable("The storage system does not answer.")
        return self.translator.error(code, message, status=answer.status)

    # --- changes

    def change(self, method: str, path: str, query: Query, body: Json, *, journal: Journal) -> Answer:
        """Send one change, once.

        Raises:
            BackendUnavailable, ResourceBusy: nothing happened.
            OutcomeUnclear: it left, and what became of it cannot be told from here.
            StorageError: the filer's refusal, translated; nothing happened.
        """
        require_one(method, path, query)
        try:
            content = None if method == "DELETE" else body  # The published schema has no body for it.
            answer = self._exchange(method, url_of(path, query), content, journal)
        except NotSent as failure:
            raise BackendUnavailable(f"The storage system cannot be reached: {failure}.") from None
        except NoAnswer as failure:
            if failure.status in {200, 201}:
                return Answer(failure.status)
            raise OutcomeUnclear(f"The change was sent and no answer came: {failure.reason}.") from None
        if answer.status in {200, 201, 202}:
            return answer
        raise self._change_failed(answer)

    def _change_failed(self, answer: Answer) -> StorageError:
        code, message = answer.error
        if refuses(answer.status) or is_known(code):
            return self.translator.error(code, message, status=answer.status)
        original = BackendError(str(code or answer.status), self.translator.clean(message))
        return OutcomeUnclear("The change was sent and the answer does not tell.", backend_error=original)

    # --- one exchange

    def _exchange(
        self, method: str, url: str, body: Json | None, journal: Journal, shape: Shape | None = None
    ) -> Answer:
        self.leave_alone(journal)
        with self._slot() as connection:
            journal.checkpoint()  # Waiting for the slot may have taken long.
            seconds = max(0.05, min(self.timeout_s, journal.seconds_left))
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
                answer = read(response, is_question=method == "GET", shape=shape)
            except TROUBLE as trouble:
                raise trouble_of(trouble, None if response is None else response.status_code) from None
            finally:
                if response is not None:
                    response.close()
            if answer.status in {429, 503} and answer.retry_after_s:
                self._busy_until = time.monotonic() + min(answer.retry_after_s, _LONGEST_PAUSE_S)
            return answer

    def leave_alone(self, journal: Journal) -> None:
        """Wait for as long as the filer asked for when it was last too busy, whoever got that answer."""
        left = self._busy_until - time.monotonic()
        if left > 0:
            journal.wait(left)

    @contextmanager
    def _slot(self) -> Iterator[_Connection]:
        """This thread's connection, while fewer than ``max_connections`` calls of this process are under way."""
        process = self._own_process()
        if not process.slots.acquire(timeout=self.timeout_s):
            raise NotSent("too many calls of this worker are under way")
        try:
            yield self._own_connection(process)
        finally:
            process.slots.release()

    def _own_process(self) -> _Process:
        if self._process.pid != os.getpid():  # A child must never read from its parent's sockets.
            self._process = _Process(self._options.max_connections)
        return self._process

    def _own_connection(self, process: _Process) -> _Connection:
        connection: _Connection | None = getattr(process.threads, "connection", None)
        if connection is None:
            connection = process.threads.connection = _Connection(self._options)
            with process.lock:
                process.connections.add(connection)
        return connection

    def close(self) -> None:
        """Let go of this process's connections."""
        process, self._process = self._own_process(), _Process(self._options.max_connections)
        for connection in list(process.connections):
            connection.session.close()
