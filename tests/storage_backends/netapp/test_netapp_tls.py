"""Over TLS: the certificate is checked unless that is switched off, and deadlines hold as they do without."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from storage_backends.errors import BackendTimeout, BackendUnavailable
from storage_backends.journal import InMemoryJournal
from tests.ontap_simulator import Kind, Simulator
from tests.storage_backends.netapp.opening import open_backend


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1, its own authority, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulated filer")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "filer.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


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
def test_no_question_hangs(kind: Kind, filer: Simulator) -> None:
    backend = open_backend(filer, scheme="https", verify=False, timeout_s=0.5)
    backend.list_volumes(journal=InMemoryJournal())
    filer.fault(kind, times=9)

    with pytest.raises(BackendTimeout):
        backend.list_volumes(journal=InMemoryJournal())
