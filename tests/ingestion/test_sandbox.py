"""A hostile file takes its child down, and the next file is read all the same."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from deployments.errors import DamagedDocument, DocumentTimeout, DocumentTooLarge
from deployments.ingestion.readers.document import MIB, ReadLimits
from deployments.ingestion.sandbox import ReaderSandbox, SandboxLimits


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.txt"
    path.write_text("Kestrels hover.")
    return path


def looping(path: Path) -> Path:
    """A JSON file of megabytes, which takes longer to read than the tests' bounds allow."""
    path.write_text("[" + ",".join(['{"text":"kestrel"}'] * 1_000_000) + "]")
    return path


def test_one_child_reads_file_after_file(good: Path) -> None:
    with ReaderSandbox() as sandbox:
        assert sandbox.pid is None
        document = sandbox.read(good, "text/plain", "good.txt")
        assert (document.title, document.text) == ("good", "Kestrels hover.")
        first = sandbox.pid
        sandbox.read(good, "text/plain", "good.txt")
        assert sandbox.pid == first
    assert first is not None
    assert not psutil.pid_exists(first)


def test_a_file_that_takes_too_long_is_stopped_and_the_next_one_read(
    good: Path, tmp_path: Path
) -> None:
    with ReaderSandbox(ReadLimits(max_sections=2_000_000), SandboxLimits(wall_s=0.3)) as sandbox:
        sandbox.read(good, "text/plain", "good.txt")
        first = sandbox.pid
        with pytest.raises(DocumentTimeout):
            sandbox.read(looping(tmp_path / "slow.json"), "application/json", "slow.json")
        assert first is not None
        assert not psutil.pid_exists(first)
        assert sandbox.read(good, "text/plain", "good.txt").text == "Kestrels hover."


def test_processor_time_is_bounded(tmp_path: Path) -> None:
    with (
        ReaderSandbox(ReadLimits(max_sections=2_000_000), SandboxLimits(cpu_s=0)) as sandbox,
        pytest.raises(DocumentTimeout),
    ):
        sandbox.read(looping(tmp_path / "slow.json"), "application/json", "slow.json")


def test_memory_is_bounded_and_the_next_file_is_read(good: Path, tmp_path: Path) -> None:
    bounds = SandboxLimits(memory_bytes=200 * MIB)
    with ReaderSandbox(ReadLimits(max_sections=2_000_000), bounds) as sandbox:
        with pytest.raises(DocumentTooLarge):
            sandbox.read(looping(tmp_path / "large.json"), "application/json", "large.json")
        assert sandbox.read(good, "text/plain", "good.txt").text == "Kestrels hover."


def test_a_child_that_is_killed_from_outside_fails_one_file_only(
    good: Path, tmp_path: Path
) -> None:
    with ReaderSandbox(ReadLimits(max_sections=2_000_000)) as sandbox:
        sandbox.read(good, "text/plain", "good.txt")
        slow = looping(tmp_path / "slow.json")
        assert sandbox.pid is not None
        threading.Timer(0.2, os.kill, (sandbox.pid, 9)).start()
        with pytest.raises(DamagedDocument):
            sandbox.read(slow, "application/json", "slow.json")
        assert sandbox.read(good, "text/plain", "good.txt").text == "Kestrels hover."


def test_the_child_does_not_see_the_workers_secrets(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_SECRET_KEY", "do-not-tell")
    with ReaderSandbox() as sandbox:
        sandbox.read(good, "text/plain", "good.txt")
        environment = psutil.Process(sandbox.pid).environ()
    assert "JWT_SECRET_KEY" not in environment
    assert "do-not-tell" not in "".join(environment.values())


CONFINED = """
import socket, subprocess, sys
from deployments.ingestion import sandbox
sandbox._confine(2**31)
for attempt in (
    lambda: socket.socket().connect(("127.0.0.1", 9)),
    lambda: subprocess.run(["true"]),
    lambda: __import__("os").system("true"),
):
    try:
        attempt()
    except PermissionError:
        print("refused")
"""


def test_the_child_can_neither_connect_nor_start_programs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CONFINED], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["refused"] * 3


PARENT = """
import sys, time
from pathlib import Path
from deployments.ingestion.sandbox import ReaderSandbox
sandbox = ReaderSandbox()
sandbox.read(Path(sys.argv[1]), "text/plain", "a.txt")
print(sandbox.pid, flush=True)
time.sleep(60)
"""


def test_the_child_ends_when_its_parent_is_killed(good: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(good)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
    finally:
        parent.kill()
        parent.communicate()
    deadline = time.monotonic() + 10
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
