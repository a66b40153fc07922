"""Child processes: started, asked to end, made to end, and never left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deployments.errors import ConfigurationError
from serve_app.embedded.processes import Child, end_leftovers, free_port, port_answers

SLEEPER = "import time; print('here', flush=True); time.sleep(60)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER


def child(tmp_path: Path, program: str, **options: float) -> Child:
    command = [sys.executable, "-c", program]
    return Child("sleeper", command, tmp_path / "logs" / "sleeper.log", **options)  # type: ignore[arg-type]


def says(made: Child, text: str) -> bool:
    return made.log.exists() and text in made.log.read_text()


def gone(pid: int, within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def ended() -> Iterator[list[int]]:
    """Processes that end with the test, whatever becomes of it."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)


def test_a_child_runs_in_a_session_of_its_own_and_stops_when_asked(tmp_path: Path) -> None:
    made = child(tmp_path, SLEEPER)
    assert not made.running
    made.start()
    made.wait_until(lambda: says(made, "here"), 10)
    assert made.running
    assert made.process is not None
    pid = made.process.pid
    assert os.getsid(pid) == pid != os.getsid(0)
    made.stop()
    assert not made.running
    assert gone(pid)
    made.stop()  # again, with nothing to stop


def test_a_deaf_child_is_killed(tmp_path: Path) -> None:
    made = child(tmp_path, DEAF, patience_s=0.2)
    made.start()
    made.wait_until(lambda: says(made, "here"), 10)
    assert made.process is not None
    pid = made.process.pid
    began = time.monotonic()
    made.stop()
    assert time.monotonic() - began < 3
    assert gone(pid)


def test_a_deaf_child_takes_its_own_children_along(tmp_path: Path) -> None:
    program = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEPER!r}]); "
    made = child(tmp_path, program + DEAF, patience_s=0.2)
    made.start()
    made.wait_until(lambda: made.log.read_text().count("here") == 2, 10)
    assert made.process is not None
    (grandchild,) = psutil.Process(made.process.pid).children()
    made.stop()
    assert gone(grandchild.pid)


def test_a_child_that_ends_at_once_says_why(tmp_path: Path) -> None:
    lines = "; ".join(f"print('line {n}')" for n in range(30))
    made = child(tmp_path, f"{lines}; raise SystemExit('no such option')")
    made.start()
    with pytest.raises(ConfigurationError) as refused:
        made.wait_until(lambda: False, 10)
    message = refused.value.message
    assert message.startswith("sleeper ended while starting.")
    assert "no such option" in message
    assert str(made.log) in message
    assert "line 29" in message
    assert "line 3\n" not in message


def test_a_child_that_stays_silent_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    made = child(tmp_path, SLEEPER)
    made.start()
    try:
        with pytest.raises(ConfigurationError, match="did not answer within"):
            made.wait_until(lambda: False, 0.2)
    finally:
        made.stop()


def test_a_child_dies_with_a_parent_that_was_killed(tmp_path: Path, ended: list[int]) -> None:
    program = f"""
import sys, time
from pathlib import Path
from serve_app.embedded.processes import Child
made = Child("c", [sys.executable, "-c", {SLEEPER!r}], Path({str(tmp_path / "log")!r}))
made.start()
print(made.process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        ended += [parent.pid, pid]
        assert psutil.pid_exists(pid)
        parent.kill()
        parent.wait()
    assert gone(pid)


def test_leftovers_are_what_names_the_directory_and_nothing_else(
    tmp_path: Path, ended: list[int]
) -> None:
    ours, beside = tmp_path / "run", tmp_path / "run-2"
    started = [
        subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE)
        for program, arguments in [
            (SLEEPER, [f"--socket={ours}/s.sock"]),
            (SLEEPER, [str(ours)]),
            (SLEEPER, [f"--socket={beside}/s.sock"]),
            (SLEEPER, []),
        ]
    ]
    ended += [process.pid for process in started]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    try:
        assert len(end_leftovers(ours)) == 2
        assert [process.poll() is None for process in started] == [False, False, True, True]
        assert end_leftovers(ours) == []
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_a_free_port_answers_nobody_until_somebody_listens() -> None:
    port = free_port()
    assert not port_answers(port)
    with socket.create_server(("127.0.0.1", port)):
        assert port_answers(port)
