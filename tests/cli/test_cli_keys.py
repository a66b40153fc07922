"""`ragserve keys`, from a shell to the real store and to a served API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from api.desk import Desk
from outcome import Outcome
from typer.testing import CliRunner

from deployments.state.api_keys import ApiKeyStore
from deployments.state.connection import connect
from serve_app.cli.main import app
from tests.openai_api.served_room import Server
from tests.services import ValkeyServer

PEPPER = "a-pepper-of-this-test-0123456789-abcdef"


def run(*words: str) -> Outcome:
    result = CliRunner().invoke(app, ["keys", *words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(scope="module")
def served() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def desk(served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    folder = tmp_path / "desk"
    folder.mkdir()
    made = Desk(folder)
    served.serve(made.app)
    monkeypatch.setenv("RAGSERVE_URL", served.url)
    monkeypatch.setenv("RAGSERVE_API_KEY", "root")
    return made


def test_a_key_is_made_listed_replaced_and_ended(desk: Desk) -> None:
    made = run("create", "CI", "--collection", "team_*", "--write", "team_a", "--expires", "90d")
    key = made.out.strip()
    assert asyncio.run(desk.key_store.verify(key)).may_write("team_a")
    assert "not shown again" in made.err

    listed = run("list")
    prefix = key.split("_")[1]
    assert prefix in listed.out
    assert key not in listed.out
    (shown,) = run("list", "--json").json
    assert shown["writable"] == ["team_a"]

    new = run("rotate", prefix, "--overlap", "1h", "--json").json
    assert run("revoke", prefix).code == 0
    assert [one["prefix"] for one in run("list", "--json").json] == [new["prefix"]]
    assert run("revoke", prefix).code == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["CI"], "--collection"),
        (["CI", "--collection", "A b"], "collections"),
        (["CI", "--collection", "*", "--scope", "root"], "scopes"),
        (["CI", "--collection", "*", "--expires", "soon"], "duration"),
    ],
)
def test_what_cannot_be_made_is_explained(words: list[str], said: str) -> None:
    outcome = run("create", *words)
    assert outcome.code == 2
    assert said in outcome.err


def test_the_first_key_is_written_into_redis_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    valkey = ValkeyServer(tmp_path / "valkey").start()
    try:
        monkeypatch.setenv("REDIS_URL", valkey.url)
        monkeypatch.setenv("REDIS_PASSWORD", valkey.password)
        monkeypatch.setenv("API_KEY_PEPPER", PEPPER)
        words = ["--scope", "admin", "--collection", "*", "--direct", "--json"]
        key = json.loads(run("create", "first", *words).out)["key"]

        async def verified() -> str:
            client = connect(valkey.url, valkey.password)
            try:
                return (await ApiKeyStore(client, PEPPER.encode()).verify(key)).name
            finally:
                await client.aclose()

        assert asyncio.run(verified()) == "first"
    finally:
        valkey.stop()
