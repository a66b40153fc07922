"""The script before HAProxy closes what Serve's configuration of it leaves open."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from ray.serve._private.haproxy_templates import HAPROXY_CONFIG_TEMPLATE

from serve_app.embedded.closed_proxy import closed_proxy
from serve_app.embedded.processes import free_port, port_answers

# In the shape of Serve's own, which the first test compares.
CONFIG = """\
global
    maxconn 50
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 60s
frontend prometheus
    bind :{metrics}
    http-request use-service prometheus-exporter if {{ path /metrics }}
frontend http_frontend
    bind 127.0.0.1:{http}
    http-request return status 200 content-type text/plain lf-string \
"%[req.hdr(x-request-timeout-seconds)]%[req.hdr(x-request-disconnect-disabled)]|%[req.hdr(x-a)]"
listen stats
  bind *:{stats}
  stats enable
"""


def test_serve_still_writes_what_the_script_knows() -> None:
    for line in (
        "\ndefaults",
        "\nfrontend http_frontend\n",
        "    bind :{{ config.metrics_port }}",
        "  bind *:{{ config.stats_port }}",
    ):
        assert line in HAPROXY_CONFIG_TEMPLATE


@pytest.fixture
def ports() -> dict[str, int]:
    return {name: free_port() for name in ("metrics", "http", "stats")}


@pytest.fixture
def proxy(tmp_path: Path, ports: dict[str, int]) -> Iterator[psutil.Process]:
    config = tmp_path / "it's a haproxy.cfg"
    config.write_text(CONFIG.format(**ports))
    script = closed_proxy(tmp_path / "ha")
    started = subprocess.Popen([str(script), "-db", "-f", str(config)], stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not port_answers(ports["http"]):
            assert started.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield psutil.Process(started.pid)
    finally:
        started.kill()
        started.wait()


def test_its_pages_listen_on_loopback_alone(proxy: psutil.Process, ports: dict[str, int]) -> None:
    # The script has become HAProxy: whoever holds its process id holds the proxy's.
    assert proxy.name() == "haproxy"
    assert {
        line.laddr.port: line.laddr.ip
        for line in proxy.net_connections("tcp")
        if line.status == psutil.CONN_LISTEN
    } == dict.fromkeys(ports.values(), "127.0.0.1")


def test_serves_own_headers_are_taken_from_callers(
    proxy: psutil.Process, ports: dict[str, int]
) -> None:
    with socket.create_connection(("127.0.0.1", ports["http"]), 5) as line:
        line.sendall(
            b"GET / HTTP/1.1\r\nHost: x\r\nX-A: kept\r\nX-Request-Timeout-Seconds: 1\r\n"
            b"X-Request-Disconnect-Disabled: 1\r\nConnection: close\r\n\r\n"
        )
        answer = b""
        while piece := line.recv(1000):
            answer += piece
    assert answer.endswith(b"|kept")
    assert b"1|kept" not in answer
