"""Over TLS: the certificate is checked unless that is switched off, and deadlines hold as they do without."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from unittest.mock import Mock

import pytest
from cryptography import x509

from storage_backends.errors import BackendTimeout, BackendUnavailable
from storage_backends.journal import InMemoryJournal
from tests.certificates import write_certificate
from tests.ontap_simulator import Kind, Simulator
from tests.storage_backends.netapp.signed_in_drivers import open_backend


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1, its own authority, with its key."""
    return write_certificate(tmp_path_factory.mktemp("tls") / "filer.pem", [x509.IPAddress(ip_address("127.0.0.1"))])


@pytest.fixture
def filer(certificate: Path) -> Iterator[Simulator]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    simulator = Simulator(tls=context).start()
    simulator.world.add_volume("home")
    yield simulator
    simulator.close()


def test_an_unknown_certificate_is_refused_before_anything_is_sent(filer: Simulator) -> None:
    backend = open_backend(filer, scheme="https")

    with pytest.raises(BackendUnavailable) as refusal:
        backend.get_volume("home", journal=InMemoryJournal())

    assert "certificate" in refusal.value.detail
    assert filer.requests == []


@pytest.mark.parametrize(
    ("host", "days", "words"),
    [
        ("127.0.0.1", (-2, -1), "has expired"),
        ("127.0.0.1", (1, 2), "is not valid yet"),
        ("192.0.2.1", (-1, 1), "is for another address"),
    ],
)
def test_the_error_of_a_certificate_is_reported(tmp_path: Path, host: str, days: tuple[int, int], words: str) -> None:
    certificate = write_certificate(tmp_path / "filer.pem", [x509.IPAddress(ip_address(host))], days=days)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with closing(Simulator(tls=context).start()) as filer:
        backend = open_backend(filer, scheme="https", verify=str(certificate))
        with pytest.raises(BackendUnavailable, match=f"its certificate {words}"):
            backend.list_volumes(journal=InMemoryJournal())


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_unreadable_verify_file_is_reported_as_the_reason(
    filer: Simulator, tmp_path: Path, content: str | None
) -> None:
    authorities = tmp_path / "authorities.pem"
    if content is not None:
        authorities.write_text(content)
    backend = open_backend(filer, scheme="https", verify=str(authorities))
    with pytest.raises(BackendUnavailable, match="the file that `verify` names"):
        backend.list_volumes(journal=InMemoryJournal())


def test_a_worker_without_free_files_is_reported_as_the_reason(
    filer: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = OSError(errno.EMFILE, "Too many open files")
    monkeypatch.setattr("urllib3.connection.connection.create_connection", Mock(side_effect=failure))
    with pytest.raises(BackendUnavailable, match="this worker can open no more connections"):
        open_backend(filer, scheme="https").list_volumes(journal=InMemoryJournal())


def test_a_known_authority_is_trusted(filer: Simulator, certificate: Path) -> None:
    backend = open_backend(filer, scheme="https", verify=str(certificate))

    assert backend.get_volume("home", journal=InMemoryJournal()).name == "home"


def test_checking_can_be_switched_off(filer: Simulator) -> None:
    backend = open_backend(filer, scheme="https", verify=False)

    assert backend.update_volume("home", journal=InMemoryJournal(), size_total=10**9).name == "home"


@pytest.mark.parametrize("kind", [Kind.HANG, Kind.TRICKLE])
def test_every_read_has_a_time_limit(kind: Kind, filer: Simulator) -> None:
    backend = open_backend(filer, scheme="https", verify=False, timeout_s=0.5)
    backend.list_volumes(journal=InMemoryJournal())
    filer.fault(kind, times=9)

    with pytest.raises(BackendTimeout):
        backend.list_volumes(journal=InMemoryJournal())
