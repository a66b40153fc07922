from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from agent import ROOT, Agent, environment, given, refused, started
from fake_api import KEY, RunningFake


async def test_an_agent_finds_the_tools_and_what_each_takes(over_stdio: Agent) -> None:
    async with over_stdio() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == {"search", "ask", "list_collections", "ingest_file"}
    assert all(tool.description and tool.output_schema for tool in tools.values())
    assert tools["search"].input_schema["required"] == ["query"]
    writes = [
        name
        for name, tool in tools.items()
        if not (tool.annotations and tool.annotations.read_only_hint)
    ]
    assert writes == ["ingest_file"]


async def test_without_a_key_or_a_server_the_tools_say_so(over_stdio: Agent) -> None:
    async with over_stdio(key=None) as client:
        assert "key is missing or unknown" in await refused(client, "list_collections")
    async with over_stdio("--url", "http://127.0.0.1:9") as client:
        told = await refused(client, "list_collections")
    assert told == "Cannot connect to http://127.0.0.1:9."


async def test_a_file_below_a_root_is_sent_and_waited_for(
    over_stdio: Agent, fake: RunningFake, files: Path
) -> None:
    heard: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    path = str(files / "allowed" / "rules.md")
    async with over_stdio("--root", "allowed") as client:
        result = await client.call_tool(
            "ingest_file", {"path": path, "collection": "handbook"}, progress_callback=hear
        )
        linked = await given(client, "ingest_file", path="same.md", collection="handbook")
    assert result.structured_content == {
        "job": "job_0001",
        "state": "COMPLETED",
        "document": "allowed/rules.md",
        "passages": 12,
        "reason": None,
    }
    assert heard == sorted(set(heard))
    assert heard[-1] == 12
    assert linked["document"] == "allowed/rules.md"
    assert "allowed/rules.md" in [one["source"] for one in documents(fake)]


def documents(fake: RunningFake) -> list[dict[str, Any]]:
    return list(fake.platform.documents["handbook"].values())


async def test_without_a_root_nothing_is_sent(
    over_stdio: Agent, fake: RunningFake, files: Path
) -> None:
    path = str(files / "allowed" / "rules.md")
    async with over_stdio() as client:
        told = await refused(client, "ingest_file", path=path, collection="handbook")
    assert told.startswith("No file may be sent")
    assert not fake.platform.jobs


async def test_the_documented_configuration_starts_it(fake: RunningFake, files: Path) -> None:
    page = (ROOT / "docs" / "agents.md").read_text()
    blocks = [json.loads(code) for code in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    configured = blocks[0]["mcpServers"]["ragserve"]
    assert configured["command"] == "ragserve"
    assert set(configured["env"]) == {"RAGSERVE_URL", "RAGSERVE_API_KEY"}
    options = [str(files / "allowed") if one.startswith("/") else one for one in configured["args"]]
    async with started(options, files, environment(fake.url, files, KEY)) as client:
        await given(client, "ingest_file", path="rules.md", collection="handbook")


def test_other_commands_do_not_import_the_protocol() -> None:
    code = "import sys, serve_app.cli.main; sys.exit('mcp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
