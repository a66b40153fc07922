"""What an agent does with `ragserve mcp`, through the official client."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

from mcp import Client, StdioServerParameters

ROOT = Path(__file__).parents[2]
PROGRAM = ["-c", "from serve_app.cli.main import main; main()"]
Agent: TypeAlias = Callable[..., AbstractAsyncContextManager[Client]]


def environment(url: str, place: Path, key: str | None) -> dict[str, str]:
    """What a process needs to talk to the API at `url`, without anyone's profiles."""
    made = {"PATH": os.environ["PATH"], "HOME": str(place), "XDG_CONFIG_HOME": str(place)}
    made |= {"PYTHONPATH": str(ROOT), "RAGSERVE_URL": url}
    return made | ({"RAGSERVE_API_KEY": key} if key else {})


@asynccontextmanager
async def started(
    options: list[str], place: Path, variables: dict[str, str]
) -> AsyncIterator[Client]:
    """A client that starts `ragserve` itself, in the folder."""
    program = StdioServerParameters(
        command=sys.executable, args=[*PROGRAM, *options], env=variables, cwd=place
    )
    async with Client(program, read_timeout_seconds=30) as client:
        yield client


async def given(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool gave back, which must be no error."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    found: dict[str, Any] | None = result.structured_content
    assert found is not None
    return found


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    """The sentence of a tool's error."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error, result.content
    [content] = result.content
    text = getattr(content, "text", "")
    assert "\n" not in text
    return str(text).removeprefix(f"Error executing tool {tool}: ")
