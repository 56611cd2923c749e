"""Over TLS: the certificate is checked unless that is switched off, and deadlines hold as they do without."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

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
