"""The real system, attacked from outside: from another network, by slow callers, through logs."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.util import get_node_ip_address

from tests.conftest import RunningSystem

PROBE = Path(__file__).with_name("probe.py")


def processes(system: RunningSystem) -> list[psutil.Process]:
    """Every process of the system: what was started, and all that they started."""
    children = [system.embedded.node.child, *system.embedded.stores.values()]
    roots = [psutil.Process(child.process.pid) for child in children if child.process]
    marker = str(system.embedded.home.runtime)
    named = [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(marker in part for part in process.info["cmdline"] or [])
    ]
    found = {process.pid: process for process in [*roots, *named]}
    for root in roots:
        found |= {process.pid: process for process in root.children(recursive=True)}
    return list(found.values())


def listening(system: RunningSystem) -> dict[int, tuple[str, str]]:
    """Port -> (address, process) of every TCP socket that the system listens on."""
    found = {}
    for process in processes(system):
        try:
            name = process.name()
            lines = process.net_connections("tcp")
        except psutil.Error:
            continue
        for line in lines:
            if line.status == psutil.CONN_LISTEN:
                found[line.laddr.port] = (line.laddr.ip, name)
    return found


def is_loopback(text: str) -> bool:
    """Also of ::ffff:127.0.0.1, which sockets for both families say."""
    address = ipaddress.ip_address(text)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


class Neighbour:
    """A machine on our network: a namespace, and a line to it."""

    def __init__(self) -> None:
        tag = uuid.uuid4().hex[:6]
        self.name = f"rag-{tag}"
        self.line = f"rg{tag}"
        third = int(tag[:2], 16)
        self.here, self.there = f"10.213.{third}.1", f"10.213.{third}.2"

    def __enter__(self) -> Neighbour:
        within = ("netns", "exec", self.name, "ip")
        ip("netns", "add", self.name)
        ip("link", "add", self.line, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        ip("addr", "add", f"{self.here}/30", "dev", self.line)
        ip("link", "set", self.line, "up")
        ip(*within, "addr", "add", f"{self.there}/30", "dev", "eth0")
        ip(*within, "link", "set", "eth0", "up")
        ip(*within, "route", "add", "default", "via", self.here)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["ip", "link", "del", self.line], check=False)
        subprocess.run(["ip", "netns", "del", self.name], check=False)

    def tries(self, targets: list[tuple[str, int]], marker: Path) -> dict[str, dict[str, str]]:
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, sys.executable, str(PROBE)],
            input=json.dumps({"targets": targets, "marker": str(marker)}),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        answers: dict[str, dict[str, str]] = json.loads(done.stdout)
        return answers


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def neighbour() -> Iterator[Neighbour]:
    try:
        with Neighbour() as made:
            yield made
    except (OSError, subprocess.CalledProcessError) as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no network namespace can be made here: {error}")
        pytest.skip("no network namespace can be made here")


def test_from_another_network_no_port_lets_anyone_in(
    system: RunningSystem, neighbour: Neighbour, tmp_path: Path
) -> None:
    ports = listening(system)
    assert len(ports) > 10
    hosts = [neighbour.here, get_node_ip_address()]
    # One port of ours is open on purpose: that the others are not reached must mean something.
    with socket.create_server((neighbour.here, 0)) as bait:
        open_port = bait.getsockname()[1]
        marker = tmp_path / "ran"
        targets = [(host, port) for port in [*ports, open_port] for host in hosts]
        tried = neighbour.tries(targets, marker)
    assert tried[f"{neighbour.here}:{open_port}"]["connect"] == "open"
    if report := os.environ.get("RAGSERVE_PROBE_REPORT"):
        Path(report).write_text(json.dumps({"ports": ports, "tried": tried}, indent=1))
    let_in = {}
    for port, (address, process) in ports.items():
        for host in hosts:
            answers = tried[f"{host}:{port}"]
            loopback = is_loopback(address)
            if loopback and answers["connect"] == "open":
                let_in[f"{process} {host}:{port}"] = answers
            told = {name: text for name, text in answers.items() if was_let_in(name, text)}
            if told:
                let_in[f"{process} {host}:{port}"] = told
    assert let_in == {}
    assert not marker.exists()


def was_let_in(attempt: str, answer: str) -> bool:
    """Whether an answer is more than a refusal."""
    if attempt == "connect" or answer.startswith("!") or answer == "":
        return False
    if attempt == "tls":
        # A TLS alert is a refusal; a peer who sends settings of HTTP/2 has let us in.
        return answer.startswith("open ") and answer != "open "
    if attempt.startswith("grpc"):
        return True
    # TLS servers answer plain text with an alert (type 21), HTTP ones with a refusal.
    return not answer.startswith("\x15\x03") and " 401 " not in answer.splitlines()[0]


def test_the_probe_finds_a_door_that_is_open(neighbour: Neighbour, tmp_path: Path) -> None:
    """What the probe does not find elsewhere it must be able to find."""
    marker = tmp_path / "ran"

    def careless(line: socket.socket) -> None:
        with line:
            data = line.recv(4096)
            if b"mkdir" in data:
                pickle.loads(data)
            line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    def serve(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                careless_line, _ = server.accept()
                with suppress(Exception):
                    careless(careless_line)

    with socket.create_server(("0.0.0.0", 0)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        port = server.getsockname()[1]
        tried = neighbour.tries([(neighbour.here, port)], marker)
        server.shutdown(socket.SHUT_RDWR)
    answers = tried[f"{neighbour.here}:{port}"]
    assert {"http", "pickle"} <= {name for name, text in answers.items() if was_let_in(name, text)}
    assert marker.exists()


def test_the_ports_that_can_be_are_loopbacks(system: RunningSystem) -> None:
    ports = listening(system)
    environment = system.embedded.node.environment
    loopback = [
        int(environment["RAY_SERVE_HAPROXY_STATS_PORT"]),
        int(environment["RAY_SERVE_HAPROXY_METRICS_PORT"]),
        int(system.url.rpartition(":")[2]),
    ]
    for port in loopback:
        assert is_loopback(ports[port][0]), ports[port]


async def test_slow_callers_hold_nobody_up_and_are_sent_away(system: RunningSystem) -> None:
    port = int(system.url.rpartition(":")[2])
    slow = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(200)]
    try:
        for line in slow:
            line.sendall(b"POST /v1/query HTTP/1.1\r\nHost: x\r\nX-A: ")
        async with system.http() as client:
            started = time.monotonic()
            answer = await client.get("/v1/me")
            assert answer.status_code == 200
            assert time.monotonic() - started < 3
        await asyncio.sleep(11)
        for line in slow:
            # It would block, and so fail, where the connection were still waited on.
            line.setblocking(False)
            assert line.recv(1000).startswith((b"HTTP/1.1 408", b"HTTP/1.0 408"))
    finally:
        for line in slow:
            line.close()


async def test_a_caller_cannot_switch_off_serves_own_protection(system: RunningSystem) -> None:
    async with system.http() as client:
        for name, value in [
            ("x-request-timeout-seconds", "0.0001"),
            ("x-request-disconnect-disabled", "1"),
        ]:
            answer = await client.get("/v1/collections", headers={name: value})
            assert answer.status_code == 200, (name, answer.text)


async def test_no_secret_is_in_logs_arguments_commands_or_answers(
    system: RunningSystem, tmp_path: Path
) -> None:
    home = system.embedded.home
    own = asdict(home.secrets()) | {"api_key": system.api_key}
    async with system.http() as client:
        for method, path, headers in [
            ("GET", "/health", {}),
            ("GET", "/v1/jobs", {"Authorization": f"Bearer {own['jwt_secret_key']}"}),
            ("GET", "/v1/jobs", {"Authorization": f"Bearer {system.api_key}x"}),
            ("POST", "/internal/v1/search", {"X-Internal-Auth": own["inter_service_secret"]}),
            ("POST", "/internal/v1/search", {"X-Internal-Auth": own["ray_token"]}),
            ("POST", "/v1/query", {}),
            ("GET", "/v1/nothing", {}),
            ("GET", "/-/routes", {}),
        ]:
            answer = await client.request(method, path, headers=headers)
            _shows_none(own, answer.text + str(answer.headers), f"{method} {path}")
    for process in processes(system):
        try:
            _shows_none(own, " ".join(process.cmdline()), f"command of {process.pid}")
        except psutil.Error:
            continue
    folders = [home.logs, home.runtime / "ray", home.runtime / "ha"]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in [*files, home.audit_log]:
        _shows_none(own, path.read_bytes().decode("latin-1"), str(path))
    state = _serve_state(system)
    assert "Ingress" in state
    _shows_none(own, state, "what Serve's controller and the dashboard show")


def _shows_none(secrets: dict[str, Any], text: str, place: str) -> None:
    for name, secret in secrets.items():
        assert secret not in text, f"{name} is in {place}"


def _serve_state(system: RunningSystem) -> str:
    """The applications with their arguments, as the dashboard shows them."""
    code = (
        "import ray, sys; from ray import serve; from ray.serve.context import _get_global_client;"
        f"ray.init(address={system.embedded.node.address!r}, namespace='serve', "
        "log_to_driver=False, logging_level='ERROR');"
        "sys.stdout.write(str(_get_global_client().get_serve_details()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | dict(system.embedded.node.environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_what_is_kept_is_for_its_owner_alone(system: RunningSystem) -> None:
    home = system.embedded.home
    for path in [home.root, home.runtime, home.certificates, home.audit_log]:
        assert path.stat().st_mode & 0o077 == 0, path
    for path in [home.root / "secrets.json", *home.certificates.iterdir()]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_the_start_of_an_ingress_is_in_the_audit_log(system: RunningSystem) -> None:
    lines = [json.loads(line) for line in system.embedded.home.audit_log.read_text().splitlines()]
    starts = [line for line in lines if line["event"] == "configuration.load"]
    assert starts
    assert all(len(line["sha256"]) == 64 for line in starts)
