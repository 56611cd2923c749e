"""No secret is in a log, an error or a job; and whose connections and sockets are used."""

from __future__ import annotations

import logging
import multiprocessing
import re
import threading
import traceback
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import requests

from storage_backends.base import StorageBackend
from storage_backends.configuration.secret import Secret
from storage_backends.errors import BackendUnavailable, StorageError
from storage_backends.journal import InMemoryJournal
from storage_backends.netapp import NetappStorage
from storage_backends.netapp.ontap.client import OntapClient
from storage_backends.netapp.ontap.error_codes import Translator
from storage_backends.netapp.ontap.transport import CALL, OntapAdapter, new_session
from tests.ontap_simulator import Kind, Simulator
from tests.storage_backends.netapp.changes import furnish
from tests.storage_backends.netapp.signed_in_drivers import USER, open_backend


class TestSecrets:
    """Neither credentials nor hosts are in any message."""

    def test_no_message_contains_a_secret(self, ontap: Simulator, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        furnish(ontap)
        backend = open_backend(ontap, hostname="localhost", timeout_s=0.5)
        texts: list[str] = [repr(backend), repr(backend._client), str(vars(backend._client).keys())]
        faults: list[dict[str, Any]] = [
            {"kind": kind, "code": code, "status": status}
            for kind, code, status in [
                (Kind.DROP, 0, 0),
                (Kind.REFUSE, 65541, 500),
                (Kind.REFUSE, 6, 403),
                (Kind.REFUSE, 917508, 400),
                (Kind.REFUSE, 0, 401),
            ]
        ]
        words = 'node "n1", host "n2", server "n3" and cluster "n4" say no'
        message = f"{USER} on localhost at filer01.example.org (192.0.2.77, 2001:db8::1), {words}"
        for fault in faults:
            ontap.fault(method="PATCH", message=message, **fault)
            with pytest.raises(StorageError) as error:
                backend.update_volume("home", journal=InMemoryJournal(), size_total=10**9)
            texts += [*_words(error.value), "".join(traceback.format_exception(error.value))]
        backend.close()
        ontap.close()
        with pytest.raises(BackendUnavailable) as error:
            backend.get_volume("home", journal=InMemoryJournal())
        texts += [*_words(error.value), "".join(traceback.format_exception(error.value))]

        password, _ = ontap.accounts[USER]
        for text in (*texts, caplog.text):
            assert password not in text
            assert "Basic " not in text
        for text in _words(error.value) + [word for word in texts if "Traceback" not in word]:
            for secret in (USER, "localhost", "127.0.0.1", "example.org", "192.0.2.77", "2001:db8::1"):
                assert secret not in text
            assert not re.search(r'"n\d"', text)

    def test_the_longer_of_two_words_is_hidden_whole(self) -> None:
        assert Translator(("filer", "filer.example.org")).clean("no filer.example.org, filer") == "no ..., ..."

    def test_names_of_objects_stay(self) -> None:
        clean = Translator(["filer01.example.org", "filer01", "admin"]).clean

        assert clean('Volume "db.2017-08-10_12.00" of "admin" on filer01') == (
            'Volume "db.2017-08-10_12.00" of "..." on ...'
        )

    @pytest.mark.parametrize("options", [{"password": "wrong"}, {"user": "nobody"}, {"vserver": "vs9"}])
    def test_wrong_credentials_are_reported_by_the_check(self, options: dict[str, Any], ontap: Simulator) -> None:
        backend = open_backend(ontap, **options)

        with pytest.raises(StorageError) as refusal:
            backend.check()

        assert refusal.value.code == "backend-unavailable"
        assert ("login" in refusal.value.detail) == ("vserver" not in options)

    @pytest.mark.parametrize("user", [USER, "vsadmin"])
    def test_right_credentials_pass_the_check(self, user: str, ontap: Simulator) -> None:
        open_backend(ontap, user).check()


def _words(error: StorageError) -> list[str]:
    original = error.backend_error
    return [str(error), repr(error), error.detail, *([original.message] if original else [])]


class TestConnections:
    """One per thread of a process; few at a time; never a parent's."""

    def test_each_thread_has_its_own_connection(self, ontap: Simulator, backend: StorageBackend) -> None:
        def work() -> None:
            for _ in range(3):
                backend.list_volumes(journal=InMemoryJournal())

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(ontap.requests) >= 9
        assert len({seen.port for seen in ontap.requests}) == 3

    def test_a_forked_process_uses_no_connection_of_its_parent(self, ontap: Simulator, backend: StorageBackend) -> None:
        ontap.world.add_volume("home")
        backend.list_volumes(journal=InMemoryJournal())
        answers: Any = multiprocessing.get_context("fork").Queue()

        def child() -> None:
            answers.put([volume.name for volume in backend.list_volumes(journal=InMemoryJournal())])

        children = [multiprocessing.get_context("fork").Process(target=child) for _ in range(2)]
        for process in children:
            process.start()
        names = [answers.get(timeout=20) for _ in children]
        for process in children:
            process.join()
        backend.list_volumes(journal=InMemoryJournal())

        assert names == [["home"], ["home"]]
        ports = [seen.port for seen in ontap.requests]
        assert ports.count(ports[0]) == 2
        assert len(set(ports)) == 3

    def test_a_connection_with_a_former_password_is_closed(
        self, ontap: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        password, scope = ontap.accounts[USER]
        file = tmp_path / "password"
        file.write_text(password)
        backend = open_backend(ontap, password=Secret.from_file(file))
        closed: list[requests.Session] = []

        def close(session: requests.Session) -> None:
            closed.append(session)

        monkeypatch.setattr(requests.Session, "close", close)
        backend.list_policies(journal=InMemoryJournal())
        assert closed == []
        ontap.accounts[USER] = ("a-new-one", scope)
        file.write_text("a-new-one")

        backend.list_policies(journal=InMemoryJournal())

        assert len(closed) == 1

    def test_the_time_limit_for_connecting_is_ten_seconds(
        self, ontap: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limits: list[Any] = []
        send = OntapAdapter.send

        def noting(self: OntapAdapter, request: Any, **options: Any) -> Any:
            limits.append(options["timeout"])
            return send(self, request, **options)

        monkeypatch.setattr(OntapAdapter, "send", noting)
        for timeout_s in (30.0, 4.0):
            open_backend(ontap, timeout_s=timeout_s).list_policies(journal=InMemoryJournal())
        assert {tuple(limit) for limit in limits} == {(10.0, 30.0), (4.0, 4.0)}

    def test_no_request_is_sent_to_another_host(self) -> None:
        with new_session("https://filer:443") as session:
            for url in ("http://127.0.0.1:1/", "https://127.0.0.1:1/", "https://filer:8443/"):
                with pytest.raises(requests.exceptions.InvalidSchema):
                    session.get(url, timeout=5)

    def test_no_cookie_of_the_filer_is_sent_back(self) -> None:
        seen: list[str | None] = []

        class Filer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append(self.headers["Cookie"])
                self.send_response(200)
                self.send_header("Set-Cookie", "session=1; Path=/")
                self.send_header("Content-Length", "0")
                self.end_headers()

        with HTTPServer(("127.0.0.1", 0), Filer) as server:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            origin = f"http://127.0.0.1:{server.server_port}"
            with new_session(origin) as session:
                for _ in range(2):
                    CALL.begin(5)
                    session.get(f"{origin}/api/cluster", timeout=5)
            server.shutdown()
        assert seen == [None, None]

    def test_the_number_of_connections_is_limited(self, ontap: Simulator) -> None:
        backend = open_backend(ontap, max_connections=2)
        under_way, most, lock = 0, 0, threading.Lock()
        handle = ontap.handle

        def counted(request: Any) -> Any:
            nonlocal under_way, most
            with lock:
                under_way += 1
                most = max(most, under_way)
            ontap.closing.wait(0.02)
            reply = handle(request)
            with lock:
                under_way -= 1
            return reply

        ontap.handle = counted  # type: ignore[method-assign]
        threads = [
            threading.Thread(target=backend.list_volumes, kwargs={"journal": InMemoryJournal()}) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(ontap.requests) >= 8
        assert most == 2

    def test_without_a_free_connection_the_filer_is_unavailable(self, ontap: Simulator) -> None:
        backend = open_backend(ontap, max_connections=1, timeout_s=0.2)
        client: OntapClient = backend._client
        with client._slot(), pytest.raises(BackendUnavailable):
            backend.list_volumes(journal=InMemoryJournal())
        # For as long as one request may take.
        client._process.slots = slots = Mock(acquire=Mock(return_value=False))
        with pytest.raises(BackendUnavailable, match="too many calls"):
            backend.list_volumes(journal=InMemoryJournal())
        slots.acquire.assert_called_once_with(timeout=0.2)

    def test_a_closed_backend_opens_again(self, ontap: Simulator, backend: NetappStorage) -> None:
        backend.list_volumes(journal=InMemoryJournal())
        client: OntapClient = backend._client
        (connection,) = client._process.connections
        backend.close()
        adapter = connection.session.get_adapter(connection.origin)
        assert isinstance(adapter, OntapAdapter)
        assert len(adapter.poolmanager.pools) == 0
        backend.list_volumes(journal=InMemoryJournal())
        assert len({seen.port for seen in ontap.requests}) == 2
