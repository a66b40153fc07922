"""Child processes that end with their parent."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deployments.errors import ConfigurationError

POLL_S = 0.05
LAST_LINES = 12
LEFTOVER_PATIENCE_S = 5.0
_PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class Child:
    """One service: its command, its log, and the process while there is one.

    It runs in a session of its own, so that Ctrl-C in the terminal reaches only the parent, and
    the kernel ends it should the parent be killed.
    """

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None
    patience_s: float = 10.0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; its output is appended to the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own commands, no shell
                list(self.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env=os.environ | dict(self.environment),
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - one call into libc, no locks
            )

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return None if self.process is None else self.process.poll()

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until the service answers.

        Raises:
            ConfigurationError: it ended or stayed silent; the message holds the log's last lines.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.running:
                raise ConfigurationError(f"{self.name} ended while starting.\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"{self.name} did not answer within {timeout_s:.0f} s.\n{self.last_words()}"
                )
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End it and all it started: asked first, and killed where it does not listen."""
        if self.process is None:
            return
        if self.process.poll() is None:
            offspring = psutil.Process(self.process.pid).children(recursive=True)
            self.process.terminate()
            try:
                self.process.wait(self.patience_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            _end(offspring)
        self.process = None

    def last_words(self) -> str:
        """The end of its log."""
        if not self.log.exists():
            return ""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join([f"  {line}" for line in lines[-LAST_LINES:]] + [f"  ({self.log})"])


def end_leftovers(marker: Path) -> list[str]:
    """End the processes whose command names `marker`, a directory that is nobody else's.

    Ray's proxy outlives a Ray that was ended from outside, and everything outlives a parent that
    was killed where the kernel cannot say so. Returns the names of what was ended.
    """
    # Whole: a directory whose name goes on from here is another's.
    named = re.compile(rf"{re.escape(str(marker))}(?![\w.-])")
    leftovers = []
    for process in psutil.process_iter(["pid", "name", "cmdline"]):
        command = process.info["cmdline"] or []
        if process.pid != os.getpid() and any(named.search(part) for part in command):
            leftovers.append(process)
    _end(leftovers)
    return [process.info["name"] for process in leftovers]


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, deaf = psutil.wait_procs(processes, timeout=LEFTOVER_PATIENCE_S)
    for process in deaf:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def free_port() -> int:
    """A port of the loopback address that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def port_answers(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0


def _end_with_parent() -> None:
    # Linux only; elsewhere a killed parent leaves its children to `ragserve down`.
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
