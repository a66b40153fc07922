"""Letting go of callers before the system ends: whoever is being answered is answered.

Asked of the proxy in front of the replicas, by its own socket: a client of the cluster would take
longer to start than most answers take to be given.
"""

from __future__ import annotations

import csv
import io
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FRONTEND = "http_frontend"
"""As Serve names it."""
ASKING_TIMEOUT_S = 2.0
POLL_S = 0.1
QUIET_POLLS = 2
"""A request may be between the proxy's front and its back when it is looked at once."""


@dataclass(frozen=True, slots=True)
class Drain:
    """What ends a system without dropping a request.

    First it is not ready any more (`flag`), so that whoever spreads requests looks elsewhere;
    after `notice_s` it takes no more connections, and then it waits for those under way.
    """

    flag: Path
    proxy_folder: Path
    notice_s: float = 1.0
    limit_s: float = 60.0

    def run(self, say: Callable[[str], None]) -> bool:
        """Whether nothing was under way at the end."""
        self.flag.touch()
        proxy = running_proxy(self.proxy_folder)
        if proxy is None:
            return True
        time.sleep(self.notice_s)
        try:
            _ask(proxy, f"disable frontend {FRONTEND}")
            return self._wait(proxy, say)
        except OSError:  # the proxy has ended: nothing can be under way through it
            return True

    def _wait(self, proxy: Path, say: Callable[[str], None]) -> bool:
        deadline = time.monotonic() + self.limit_s
        quiet = told = 0
        while time.monotonic() < deadline:
            under_way = requests_under_way(proxy)
            quiet = 0 if under_way else quiet + 1
            if quiet >= QUIET_POLLS:
                return True
            if under_way and under_way != told:
                say(f"waiting for {under_way} requests under way")
                told = under_way
            time.sleep(POLL_S)
        return False


def running_proxy(folder: Path) -> Path | None:
    """The administration socket of the proxy that runs; earlier ones leave theirs behind.

    Serve gives each node's proxy a folder of its own in there.
    """
    for candidate in folder.glob("*/admin.sock"):
        with suppress(OSError):
            _ask(candidate, "show info")
            return candidate
    return None


def requests_under_way(proxy_socket: Path) -> int:
    """Requests that replicas are answering or that wait for one; idle connections are none."""
    rows = csv.DictReader(io.StringIO(_ask(proxy_socket, "show stat").removeprefix("# ")))
    return sum(
        int(row["scur"] or 0) + int(row["qcur"] or 0) for row in rows if row["svname"] == "BACKEND"
    )


def _ask(proxy_socket: Path, command: str) -> str:
    """One command to HAProxy's administration socket. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as proxy:
        proxy.settimeout(ASKING_TIMEOUT_S)
        proxy.connect(str(proxy_socket))
        proxy.sendall(f"{command}\n".encode())
        return b"".join(iter(lambda: proxy.recv(65536), b"")).decode()
