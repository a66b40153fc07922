"""Reads files in a child process that a hostile file may take down alone.

A reader is a parser of a stranger's bytes: it may loop, fill the memory or crash. So one child a
worker reads file after file (starting one takes 60 ms, asking it a fifth of one), with bounds
on time, processor time and memory, without the worker's environment (where the secrets are), and
unable to write files, open connections or start programs. A child that breaks a bound is killed
and the next file gets a new one.

Frames both ways are a length (4 bytes, big-endian) and JSON: never pickle, which is code. The
child ends with its parent: its input closes, or, in the middle of a file, its watch on the
parent or its processor bound ends it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deployments.errors import (
    DamagedDocument,
    DocumentError,
    DocumentTimeout,
    DocumentTooLarge,
)
from deployments.ingestion.readers.document import (
    EVERY_PAGE,
    MIB,
    ExtractedDocument,
    PageRange,
    ReadLimits,
    Section,
)

_LENGTH = struct.Struct(">I")
_FILES_PER_CHILD = 1_000
"""A fresh child now and then gives back what parsers leak."""
_START_S = 30.0
"""Added to the first file's time, for starting the child and importing the reader when busy."""


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What one file may take: seconds on the clock and on the processor, and address space."""

    wall_s: float = 120.0
    cpu_s: int = 60
    memory_bytes: int = 1536 * MIB


class ReaderSandbox:
    """`registry.read` in a child process. Several threads take turns.

    The child starts with the first file; `close` (or leaving the `with`) ends it.
    """

    def __init__(
        self, limits: ReadLimits | None = None, sandbox_limits: SandboxLimits | None = None
    ) -> None:
        self._limits = limits or ReadLimits()
        self._bounds = sandbox_limits or SandboxLimits()
        self._turn = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._files = 0

    def __enter__(self) -> ReaderSandbox:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The child's process id, while there is one."""
        return self._child.pid if self._child else None

    def read(
        self, path: Path, content_type: str, name: str, pages: PageRange = EVERY_PAGE
    ) -> ExtractedDocument:
        """Read one file; blocks for at most `wall_s` (half a minute more where it starts).

        Raises:
            DocumentError: what `registry.read` raises; DocumentTimeout and DocumentTooLarge also
                where the child had to be stopped, DamagedDocument where it crashed.
        """
        with self._turn:
            fresh = self._child is None
            child = self._child = self._child or _start(self._bounds)
            request = {
                "path": str(path.resolve()),
                "content_type": content_type,
                "name": name,
                "limits": asdict(self._limits),
                "pages": asdict(pages),
                "cpu_s": self._bounds.cpu_s,
            }
            deadline = time.monotonic() + self._bounds.wall_s + (_START_S if fresh else 0.0)
            try:
                reply = _ask(child, request, deadline)
            except BaseException:
                self._end()
                raise
            self._files += 1
            if self._files >= _FILES_PER_CHILD or reply.get("exhausted"):
                self._end()
        return _document(reply)

    def close(self) -> None:
        """End the child. A read in progress in another thread fails with DamagedDocument."""
        child = self._child
        if child is not None:
            child.kill()
        with self._turn:
            self._end()

    def _end(self) -> None:
        child, self._child, self._files = self._child, None, 0
        if child is None:
            return
        child.kill()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        child.wait()


def _start(bounds: SandboxLimits) -> subprocess.Popen[bytes]:
    # The search path travels as it is now: a cluster adds folders to it while it runs.
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-P", "-m", "deployments.ingestion.sandbox", str(bounds.memory_bytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        bufsize=0,
        close_fds=True,
        start_new_session=True,  # a Ctrl-C at the terminal is the parent's to handle
    )


def _ask(child: subprocess.Popen[bytes], request: dict[str, Any], deadline: float) -> Any:
    """Send one request and wait for its reply.

    Raises:
        DocumentTimeout: the deadline passed, or the child's processor time.
        DamagedDocument: the child died of anything else.
    """
    assert child.stdin is not None and child.stdout is not None  # noqa: S101, PT018 - pipes
    body = json.dumps(request).encode()
    try:
        child.stdin.write(_LENGTH.pack(len(body)) + body)
    except OSError:
        raise _death(child) from None
    (length,) = _LENGTH.unpack(_receive(child, child.stdout.fileno(), _LENGTH.size, deadline))
    return json.loads(_receive(child, child.stdout.fileno(), length, deadline))


def _receive(child: subprocess.Popen[bytes], fd: int, size: int, deadline: float) -> bytes:
    received = bytearray()
    poll = select.poll()  # select() itself fails above 1,024 open files
    poll.register(fd, select.POLLIN)
    while len(received) < size:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not poll.poll(left_s * 1000):
            raise DocumentTimeout("Reading the file takes longer than allowed.")
        piece = os.read(fd, min(size - len(received), MIB))
        if not piece:
            raise _death(child)
        received += piece
    return bytes(received)


def _death(child: subprocess.Popen[bytes]) -> DocumentError:
    """What the way the child died says of the file."""
    try:
        status = child.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return DamagedDocument("The file stopped its reader.")
    if status == -signal.SIGXCPU:
        return DocumentTimeout("Reading the file takes more processor time than allowed.")
    if status == _OUT_OF_MEMORY:
        return DocumentTooLarge("Reading the file takes more memory than allowed.")
    return DamagedDocument("The file crashed its reader.")


def _document(reply: dict[str, Any]) -> ExtractedDocument:
    if "code" in reply:
        kinds = {kind.code: kind for kind in DocumentError.__subclasses__()}
        raise kinds.get(reply["code"], DocumentError)(reply["message"], **reply["details"])
    return ExtractedDocument(
        reply["title"],
        tuple(Section(*section) for section in reply["sections"]),
        reply["metadata"],
        reply["pages"],
    )


# The child.

_OUT_OF_MEMORY = 71
_WATCH_S = 2.0
_OPEN_FILES = 64
_REFUSED_EVENTS = frozenset(
    [
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.system",
        "pty.spawn",
        "socket.bind",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.sendto",
        "subprocess.Popen",
    ]
)
"""Python's own audit events. A second fence behind readers that do none of this anyway."""


def main(memory_bytes: int) -> None:
    """Read files as they are asked for, until the input ends."""
    replies = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not end up between the frames
    _confine(memory_bytes)
    parent = os.getppid()
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    while True:
        head = _read_exactly(0, _LENGTH.size)
        if not head:
            return
        request = json.loads(_read_exactly(0, *_LENGTH.unpack(head)))
        _allow_cpu(request["cpu_s"])
        body = json.dumps(_reply(request)).encode()
        _write_all(replies, _LENGTH.pack(len(body)) + body)


def _reply(request: dict[str, Any]) -> dict[str, Any]:
    # Deferred: the parent, which imports this module as well, never reads.
    from deployments.ingestion.readers.registry import read

    limits, pages = ReadLimits(**request["limits"]), PageRange(**request["pages"])
    path = Path(request["path"])
    try:
        document = read(path, request["content_type"], request["name"], limits, pages)
    except DocumentError as error:
        exhausted = isinstance(error.__cause__, MemoryError)
        return {
            "code": error.code,
            "message": error.message,
            "details": error.details,
            "exhausted": exhausted,
        }
    return {
        "title": document.title,
        "metadata": dict(document.metadata),
        "pages": document.pages,
        "sections": [
            (section.text, section.heading, section.page, dict(section.metadata))
            for section in document.sections
        ],
    }


def _confine(memory_bytes: int) -> None:
    import resource

    # Address space is not enforced everywhere (macOS); the other bounds then stand alone.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    sys.addaudithook(_refuse)


def _refuse(event: str, _arguments: tuple[Any, ...]) -> None:
    if event in _REFUSED_EVENTS:
        raise PermissionError(f"{event} is not for readers")


def _allow_cpu(seconds: int) -> None:
    """The bound counts from the process's start: move it on for each file."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    os._exit(0)


def _read_exactly(fd: int, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        piece = os.read(fd, size - len(received))
        if not piece:
            return b""
        received += piece
    return bytes(received)


def _write_all(fd: int, body: bytes) -> None:
    view = memoryview(body)
    while view:
        view = view[os.write(fd, view) :]


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)
