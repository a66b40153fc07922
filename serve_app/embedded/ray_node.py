"""A Ray head node for one machine, closed to everybody else.

Ray listens on every interface and takes pickled input, that is, code, on most of its ports. So
every connection needs a certificate of this state directory's own authority and its token, and
whatever can bind to loopback does.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ray.util import get_node_ip_address

from serve_app.embedded.certificates import ensure_certificates
from serve_app.embedded.closed_proxy import closed_proxy
from serve_app.embedded.home import Home
from serve_app.embedded.processes import Child, free_port

OBJECT_STORE_BYTES = 160 * 1024 * 1024
LOOPBACK = "127.0.0.1"
PROXY_FOLDER = "ha"
DIRECT_INGRESS_PORTS = 100
"""Replicas with HTTP on one node; Serve takes 1,000 by default."""


@dataclass(frozen=True, slots=True)
class RayNode:
    """A node about to be started: its command, and the environment of everything that joins it."""

    child: Child
    address: str
    port: int
    environment: Mapping[str, str]
    metrics_port: int
    """Where Prometheus finds everything that this node's processes count, on loopback."""


def ray_head(
    home: Home,
    token: str,
    *,
    cpus: int,
    environment: Mapping[str, str],
    dashboard_port: int | None = None,
    alone: bool = True,
) -> RayNode:
    """The head node.

    Args:
        home: where certificates, logs and sessions go.
        token: the cluster's shared secret.
        cpus: what Ray may hand out.
        environment: inherited by every replica and task (URLs and secrets of the services).
        dashboard_port: where the dashboard listens on loopback; it costs 900 MB, so None is off.
        alone: keep to loopback; otherwise other nodes may join, at an address of the machine's own.
    """
    metrics_port = free_port()
    address = LOOPBACK if alone else get_node_ip_address()
    port = free_port()
    full = dict(environment) | _serve_flags(home) | _locks(home, token, address)
    command = [
        str(Path(sys.executable).with_name("ray")),
        "start",
        "--head",
        "--block",
        "--disable-usage-stats",
        "--include-log-monitor=false",
        *("--node-ip-address", LOOPBACK),
        *("--port", str(port)),
        "--no-monitor",  # the autoscaler's: there is nothing to scale
        *("--ray-client-server-port", str(free_port())),
        *("--dashboard-agent-listen-port", str(free_port())),
        *("--metrics-export-port", str(metrics_port)),
        *("--num-cpus", str(cpus)),
        *("--object-store-memory", str(OBJECT_STORE_BYTES)),
        *("--temp-dir", str(home.runtime / "ray")),
        *_dashboard(dashboard_port),
    ]
    child = Child("ray", command, home.logs / "ray.log", full, patience_s=20.0)
    return RayNode(child, f"{address}:{port}", port, full, metrics_port)


def _dashboard(port: int | None) -> list[str]:
    if port is None:
        return ["--include-dashboard=false"]
    return ["--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={port}"]


def _locks(home: Home, token: str, address: str) -> dict[str, str]:
    hosts = sorted({"localhost", LOOPBACK, address, socket.gethostname()})
    files = ensure_certificates(home.certificates, hosts)
    return {
        # Ray's word for "one machine alone": otherwise it takes 127.0.0.1 for the address of an
        # interface, and its metrics listen on all of them.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0" if address == LOOPBACK else "1",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_USE_TLS": "1",
        "RAY_TLS_SERVER_CERT": str(files.certificate.resolve()),
        "RAY_TLS_SERVER_KEY": str(files.key.resolve()),
        "RAY_TLS_CA_CERT": str(files.authority.resolve()),
    }


def _serve_flags(home: Home) -> dict[str, str]:
    """HAProxy in front of direct ingress: a no-op request takes 1.2 ms instead of 5.1 ms.

    Two systems on one machine need each their own files and ports.
    """
    proxy = home.runtime / PROXY_FOLDER
    ingress_port = free_port()
    return {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(proxy / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(closed_proxy(proxy)),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(proxy / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(proxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(proxy / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(ingress_port),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(ingress_port + DIRECT_INGRESS_PORTS),
        # Ray's default of 15 is for batch work; a replica answers people.
        "RAY_worker_niceness": "0",
        # The only node has nowhere to drain to.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "1",
        # A busy machine is slow to start a proxy; killing it for that makes it slower.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
        # Throughput mode holds 1,000 lines back; without an access log there are few to write.
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
        # One thread an engine, so that two engines on two cores do not trip over each other.
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "RAY_DEDUP_LOGS": "0",
        # Metrics are this old at most; Ray's own is twice as long.
        "RAY_metrics_report_interval_ms": "5000",
    }
