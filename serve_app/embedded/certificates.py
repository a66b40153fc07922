"""A certificate authority of one's own, for the wires between Ray's processes.

Ray accepts pickled input on most of its ports, which is to say code: a peer without a
certificate from this authority gets no further than the handshake.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

VALID_FOR = timedelta(days=3650)
CLOCK_SKEW = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificates:
    """Paths of PEM files: the authority's certificate, and this node's certificate and key."""

    authority: Path
    certificate: Path
    key: Path


def ensure_certificates(directory: Path, hosts: Sequence[str]) -> Certificates:
    """The node's certificates in `directory`, made on first use and when its address changed.

    Args:
        directory: where the PEM files live; created with mode 0700.
        hosts: names and addresses that the node's certificate is good for.
    """
    files = Certificates(directory / "ca.pem", directory / "node.pem", directory / "node.key")
    if _good_for(files, hosts):
        return files
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ragserve authority")])
    authority = (
        _certificate(authority_name, authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    _write(directory / "ca.key", _pem(authority_key))
    _write_pair(files, authority_name, authority_key, hosts)
    _write(files.authority, authority.public_bytes(serialization.Encoding.PEM))
    return files


def sign_certificate(authority: Path, directory: Path, hosts: Sequence[str]) -> Certificates:
    """A node's pair in `directory`, signed by an authority made elsewhere.

    For nodes whose addresses are known only when they start.

    Args:
        authority: a directory with `ca.pem` and `ca.key`.
        directory: where the PEM files go; overwritten.
        hosts: names and addresses that the node's certificate is good for.
    """
    files = Certificates(directory / "ca.pem", directory / "node.pem", directory / "node.key")
    certificate = x509.load_pem_x509_certificate((authority / "ca.pem").read_bytes())
    key = serialization.load_pem_private_key((authority / "ca.key").read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the authority's key is not one that `ragserve secrets generate` makes")
    _write_pair(files, certificate.subject, key, hosts)
    _write(files.authority, certificate.public_bytes(serialization.Encoding.PEM))
    return files


def _write_pair(
    files: Certificates,
    authority_name: x509.Name,
    authority_key: ec.EllipticCurvePrivateKey,
    hosts: Sequence[str],
) -> None:
    node_key = ec.generate_private_key(ec.SECP256R1())
    node_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ragserve node")])
    node = (
        _certificate(authority_name, node_name, node_key.public_key())
        .add_extension(x509.SubjectAlternativeName([_name(host) for host in hosts]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    _write(files.key, _pem(node_key))
    _write(files.certificate, node.public_bytes(serialization.Encoding.PEM))


def _good_for(files: Certificates, hosts: Sequence[str]) -> bool:
    """Whether the three are there, belong together and cover the hosts."""
    try:
        authority = x509.load_pem_x509_certificate(files.authority.read_bytes())
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
        certificate.verify_directly_issued_by(authority)
    except (FileNotFoundError, ValueError, InvalidSignature):
        return False  # also where making them was interrupted half way
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return key.public_key() == certificate.public_key() and {_name(host) for host in hosts} <= set(
        names
    )


def _certificate(
    issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + VALID_FOR)
    )


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
