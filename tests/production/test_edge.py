"""The TLS edge, started for real: who gets in, and what of a request goes through."""

from __future__ import annotations

import json
import socket
import ssl
import time
import warnings
from collections.abc import Iterator

import httpx
import pytest
from edge_room import REQUEST_TIMEOUT_S, Edge, echoing, running_edge

INNER = ("query", "ingestion")
QUERY = {"public": "/v1/query", "query": "/v1/query", "ingestion": "/v1/collections"}


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with echoing() as backend, running_edge(tmp_path_factory.mktemp("edge"), backend) as edge:
        yield edge


@pytest.mark.parametrize("listener", INNER)
def test_a_service_without_a_certificate_gets_no_further_than_the_handshake(
    edge: Edge, listener: str
) -> None:
    with edge.client(listener) as client, pytest.raises(httpx.TransportError):
        client.get("/health")


@pytest.mark.parametrize("listener", INNER)
def test_a_certificate_of_another_authority_is_refused(edge: Edge, listener: str) -> None:
    forged = edge.strangers.pair("billing")
    with edge.client(listener, forged) as client, pytest.raises(httpx.TransportError):
        client.get("/health")


@pytest.mark.parametrize("listener", INNER)
def test_a_service_with_a_certificate_is_let_in(edge: Edge, listener: str) -> None:
    with edge.client(listener, edge.authority.pair("billing")) as client:
        assert client.get(QUERY[listener]).json()["path"] == QUERY[listener]


def test_each_inner_listener_leads_to_its_own_half_only(edge: Edge) -> None:
    pair = edge.authority.pair("billing")
    with edge.client("query", pair) as query, edge.client("ingestion", pair) as ingestion:
        assert query.get("/v1/collections").status_code == 404
        assert ingestion.get("/v1/query").status_code == 404
        assert query.get("/internal/v1/query").status_code == 200
        assert query.get("/internal/v1/jobs/job_1").status_code == 404
        assert ingestion.get("/internal/v1/query").status_code == 404
        assert ingestion.get("/internal/v1/jobs/job_1").status_code == 200
        assert ingestion.get("/v1/keys").status_code == 404


def test_plain_http_is_not_answered(edge: Edge) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{edge.ports['public']}/health")


def test_old_tls_is_refused(edge: Edge) -> None:
    context = edge.context()
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    address = ("127.0.0.1", edge.ports["public"])
    with socket.create_connection(address) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="localhost")


def test_what_is_between_services_is_not_there_for_the_public(edge: Edge) -> None:
    with edge.client("public") as client:
        for path in ("/internal/v1/query", "/INTERNAL/v1/query"):
            assert client.post(path, json={}).status_code == 404


@pytest.mark.parametrize("listener", ["public", "query", "ingestion"])
def test_headers_that_steer_serve_or_claim_an_origin_do_not_go_through(
    edge: Edge, listener: str
) -> None:
    claims = {
        "X-Request-Timeout-Seconds": "0",
        "X-Request-Disconnect-Disabled": "1",
        "X-Forwarded-For": "10.0.0.1",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "http",
        "X-Real-IP": "10.0.0.1",
        "Forwarded": "for=10.0.0.1",
        "X-Client-Cert": "admin",
        "X-SSL-Client-Verify": "SUCCESS",
    }
    pair = None if listener == "public" else edge.authority.pair("billing")
    with edge.client(listener, pair) as client:
        seen = client.get(QUERY[listener], headers=claims | {"X-Request-ID": "r-1"}).json()
    arrived = seen["headers"]
    assert arrived.pop("x-forwarded-for") == "127.0.0.1"
    assert arrived.pop("x-forwarded-proto") == "https"
    assert not {name.lower() for name in claims} & set(arrived)
    assert arrived["x-request-id"] == "r-1"


def test_a_secret_between_services_passes_where_a_certificate_was_shown_only(edge: Edge) -> None:
    secret = {"X-Internal-Auth": "s", "X-On-Behalf-Of": "c", "Authorization": "Bearer k"}
    with edge.client("public") as client:
        arrived = client.get("/v1/query", headers=secret).json()["headers"]
    assert not {"x-internal-auth", "x-on-behalf-of"} & set(arrived)
    assert arrived["authorization"] == "Bearer k"
    with edge.client("query", edge.authority.pair("billing")) as client:
        arrived = client.get("/internal/v1/query", headers=secret).json()["headers"]
    assert (arrived["x-internal-auth"], arrived["x-on-behalf-of"]) == ("s", "c")


def test_a_body_that_is_too_large_is_refused_before_it_is_sent_on(edge: Edge) -> None:
    with edge.client("public") as client:
        assert client.post("/v1/query", content=bytes(5 * 1024 * 1024)).status_code == 413
        upload = client.post("/v1/collections/c/documents", content=bytes(5 * 1024 * 1024))
        assert upload.json()["bytes"] == 5 * 1024 * 1024


def test_an_upload_beyond_the_largest_is_refused_by_its_announced_length(edge: Edge) -> None:
    head = b"POST /v1/collections/c/documents HTTP/1.1\r\nHost: x\r\n"
    announced = head + b"Content-Length: 2000000000\r\n\r\n"
    assert _answer(edge, announced + bytes(20_000)).startswith(b"HTTP/1.1 413")


def test_a_body_of_unknown_length_is_taken_for_documents_only(edge: Edge) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"{}"

    with edge.client("public") as client:
        assert client.post("/v1/query", content=pieces()).status_code == 411


def test_headers_that_are_too_large_or_too_many_are_refused(edge: Edge) -> None:
    with edge.client("public") as client:
        assert client.get("/health", headers={"X-Much": "x" * 20_000}).status_code == 400
        many = {f"X-Many-{number}": "x" for number in range(80)}
        assert client.get("/health", headers=many).status_code == 400


@pytest.mark.parametrize("head", [b"", b"POST /v1/query HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_caller_who_drips_headers_is_cut(edge: Edge, head: bytes) -> None:
    assert _cut_after_s(edge, head, drop=b"x") < 2 * REQUEST_TIMEOUT_S


def test_a_caller_who_drips_a_question_is_cut(edge: Edge) -> None:
    head = b"POST /v1/query HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    assert _cut_after_s(edge, head, drop=b"x") < 2 * REQUEST_TIMEOUT_S


def test_the_log_names_the_service_and_no_secret(edge: Edge, tmp_path: object) -> None:
    with edge.client("query", edge.authority.pair("billing")) as client:
        client.get("/v1/query?question=salary", headers={"Authorization": "Bearer hidden"})
    time.sleep(0.2)
    log = (edge.authority.folder.parent / "edge.log").read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert "/v1/query" in [line["path"] for line in lines if line["service"] == "billing"]
    assert "salary" not in log
    assert "hidden" not in log


def test_the_metrics_listener_answers_the_health_check(edge: Edge) -> None:
    address = f"http://127.0.0.1:{edge.ports['metrics']}"
    assert httpx.get(f"{address}/healthz").status_code == 200
    assert "haproxy_frontend_http_requests_total" in httpx.get(f"{address}/metrics").text
    assert httpx.get(f"{address}/v1/query").status_code == 404


def _connected(edge: Edge) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", edge.ports["public"]))
    return edge.context().wrap_socket(plain, server_hostname="localhost")


def _answer(edge: Edge, request: bytes) -> bytes:
    with _connected(edge) as connection:
        connection.settimeout(10)
        connection.sendall(request)
        return connection.recv(4096)


def _cut_after_s(edge: Edge, head: bytes, drop: bytes) -> float:
    """How long the edge listens to a request that never ends, a drop every half second."""
    started = time.monotonic()
    with _connected(edge) as connection:
        connection.settimeout(0.5)
        connection.sendall(head)
        while time.monotonic() - started < 20:
            try:
                connection.sendall(drop)
                answer = connection.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                break
            assert answer == b"" or answer.startswith(b"HTTP/1.1 408")
            break
    return time.monotonic() - started
