from __future__ import annotations

import asyncio
import re
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from agent import ROOT, Agent, given, refused
from fake_api import KEY, READER_KEY, RunningFake
from fake_platform import ANSWER
from typer.testing import CliRunner

from serve_app.cli.main import app

CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "list_collections", "arguments": {}},
}
ACCEPT = {"Accept": "application/json, text/event-stream"}


def post(address: str, **headers: str) -> httpx.Response:
    return httpx.post(
        address, json=CALL, headers={**ACCEPT, **headers}, trust_env=False, timeout=20
    )


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_tools_answer_over_http(over_http: Agent, mode: str) -> None:
    async with over_http(mode=mode) as client:
        assert (await given(client, "ask", question="Who signs?"))["answer"] == ANSWER
        sent = await given(client, "ingest_file", path="rules.md", collection="handbook")
    assert sent["state"] == "COMPLETED"


async def test_each_request_is_made_with_its_own_key(over_http: Agent, fake: RunningFake) -> None:
    async with over_http(READER_KEY) as reader, over_http(KEY) as writer:
        arguments = {"path": "rules.md", "collection": "handbook"}
        told, sent = await asyncio.gather(
            refused(reader, "ingest_file", **arguments), given(writer, "ingest_file", **arguments)
        )
    assert told == "This key may not change collections (request req_7f3a)."
    assert sent["state"] == "COMPLETED"
    keys = {headers["authorization"] for _, _, headers in fake.platform.requests}
    assert keys == {f"Bearer {READER_KEY}", f"Bearer {KEY}"}


async def test_the_service_judges_the_key(over_http: Agent) -> None:
    async with over_http("wrong") as client:
        assert "key is missing or unknown" in await refused(client, "list_collections")


@pytest.mark.parametrize("header", [None, "", "Bearer", f"Basic {KEY}", KEY])
def test_a_request_without_a_key_is_refused_though_the_server_has_one(
    address: str, fake: RunningFake, header: str | None
) -> None:
    answer = post(address, **({} if header is None else {"Authorization": header}))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["code"] == "unauthenticated"
    assert not fake.platform.requests


@pytest.mark.parametrize("version", ["2025-06-18", "2026-07-28"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "rebound.example.org"}, 421),
        ({"Host": "localhost.example.org:80"}, 421),
        ({"Origin": "https://example.org"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_pages_of_other_sites_are_refused(
    address: str, fake: RunningFake, headers: dict[str, str], status: int, version: str
) -> None:
    allowed = {"Authorization": f"Bearer {KEY}", "MCP-Protocol-Version": version}
    assert post(address, **allowed, **headers).status_code == status
    assert not fake.platform.requests


def test_pages_of_the_own_machine_may_ask(address: str, fake: RunningFake) -> None:
    port = urlsplit(address).port
    own = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"}
    assert post(address, Authorization=f"Bearer {KEY}", **own).status_code == 200


async def test_the_documented_program_asks(
    address: str, fake: RunningFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    [code] = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "agents.md").read_text(), re.DOTALL
    )
    program: dict[str, Any] = {}
    exec(code, program)
    monkeypatch.setenv("RAGSERVE_API_KEY", KEY)
    assert await program["ask"](address, "Who signs?") == ANSWER


def test_by_default_only_this_machine_is_listened_to(address: str) -> None:
    assert urlsplit(address).hostname == "127.0.0.1"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", urlsplit(address).port or 0), timeout=5)


async def test_a_cancelled_question_stops_the_model(over_http: Agent, fake: RunningFake) -> None:
    async with over_http() as client:
        question = asyncio.create_task(client.call_tool("ask", {"question": "slow and long"}))
        deadline = time.monotonic() + 20
        while not fake.platform.questions:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        question.cancel()
        while not fake.platform.stopped_streams:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


def test_what_cannot_start_says_what_to_do(address: str) -> None:
    def run(*options: str) -> tuple[int, str]:
        outcome = CliRunner().invoke(app, ["mcp", *options])
        return outcome.exit_code, outcome.stderr

    code, text = run("--transport", "http", "--port", str(urlsplit(address).port))
    assert (code, "choose another --port" in text) == (1, True)
    code, text = run("--root", "no-such-folder")
    assert (code, "no-such-folder is not a folder" in text) == (2, True)
    code, text = run("--transport", "http", "--host", "example.org")
    assert (code, "takes an IP address" in text) == (2, True)
