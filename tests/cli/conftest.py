"""The fake API that the command line is tested against."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serve_app.cli.main import app

sys.path.insert(0, str(Path(__file__).parents[1] / "console"))

from fake_api import KEY, RunningFake, running
from outcome import Command, Outcome


@pytest.fixture(scope="session")
def server() -> Iterator[RunningFake]:
    with running() as fake:
        yield fake


@pytest.fixture
def fake(server: RunningFake) -> RunningFake:
    server.platform.reset()
    return server


@pytest.fixture(autouse=True)
def _clean_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, a home and an environment that hold no address or key of anyone's."""
    for name in ("RAGSERVE_URL", "RAGSERVE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)


@pytest.fixture
def ragserve(fake: RunningFake, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs the command against the fake API, unless told another server."""
    monkeypatch.setenv("RAGSERVE_URL", fake.url)
    monkeypatch.setenv("RAGSERVE_API_KEY", KEY)

    def run(*args: str, stdin: str = "") -> Outcome:
        result = CliRunner().invoke(app, list(args), input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run
