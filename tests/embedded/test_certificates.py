"""The certificates of Ray's wires."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest
from cryptography import x509

from serve_app.embedded.certificates import (
    Certificates,
    ensure_certificates,
    sign_certificate,
)

HOSTS = ["localhost", "127.0.0.1"]


def test_they_are_made_once_and_their_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    made = ensure_certificates(folder, HOSTS)
    before = made.certificate.read_bytes()
    assert ensure_certificates(folder, HOSTS) == made
    assert made.certificate.read_bytes() == before
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_they_are_made_again_for_another_address_and_not_for_fewer(tmp_path: Path) -> None:
    made = ensure_certificates(tmp_path, HOSTS)
    before = made.certificate.read_bytes()
    ensure_certificates(tmp_path, ["localhost"])
    assert made.certificate.read_bytes() == before
    ensure_certificates(tmp_path, [*HOSTS, "10.0.0.7"])
    names = x509.load_pem_x509_certificate(made.certificate.read_bytes()).extensions
    found = names.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("127.0.0.1"),
        ipaddress.ip_address("10.0.0.7"),
    ]


@pytest.mark.parametrize("damage", ["gone", "empty", "torn"])
def test_they_are_made_again_where_one_is_lost_or_damaged(tmp_path: Path, damage: str) -> None:
    made = ensure_certificates(tmp_path, HOSTS)
    for path in (made.authority, made.certificate, made.key):
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(b"" if damage == "empty" else path.read_bytes()[:100])
        assert handshake(ensure_certificates(tmp_path, HOSTS), made)


def test_a_peer_of_another_authority_is_turned_away(tmp_path: Path) -> None:
    ours = ensure_certificates(tmp_path / "ours", HOSTS)
    theirs = ensure_certificates(tmp_path / "theirs", HOSTS)
    assert handshake(ours, ours)
    assert not handshake(ours, theirs)


def handshake(server: Certificates, client: Certificates) -> bool:
    """Whether the two, each with its own files, come to trust each other."""
    listening = socket.create_server(("127.0.0.1", 0))
    accepting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=server.authority)
    accepting.load_cert_chain(server.certificate, server.key)
    accepting.verify_mode = ssl.CERT_REQUIRED
    trusted: list[bool] = []

    def accept() -> None:
        connection, _ = listening.accept()
        with connection:
            try:
                with accepting.wrap_socket(connection, server_side=True) as secured:
                    trusted.append(secured.recv(1) == b"x")
            except (ssl.SSLError, OSError):
                trusted.append(False)

    thread = threading.Thread(target=accept)
    thread.start()
    calling = ssl.create_default_context(cafile=client.authority)
    calling.load_cert_chain(client.certificate, client.key)
    try:
        with (
            socket.create_connection(listening.getsockname(), timeout=5) as connection,
            calling.wrap_socket(connection, server_hostname="localhost") as secured,
        ):
            secured.sendall(b"x")
    except (ssl.SSLError, OSError):
        trusted.append(False)
    thread.join(5)
    listening.close()
    return all(trusted)


def test_a_node_that_knows_its_address_late_gets_a_pair_of_the_same_authority(
    tmp_path: Path,
) -> None:
    authority = ensure_certificates(tmp_path / "authority", HOSTS)
    pod = tmp_path / "pod"
    pod.mkdir()
    signed = sign_certificate(tmp_path / "authority", pod, ["10.1.2.3"])
    certificate = x509.load_pem_x509_certificate(signed.certificate.read_bytes())
    certificate.verify_directly_issued_by(
        x509.load_pem_x509_certificate(authority.authority.read_bytes())
    )
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("10.1.2.3")]
    assert not (pod / "ca.key").exists()
