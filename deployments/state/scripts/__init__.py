"""What must happen in one step happens in Lua, one file a step.

A script is assembled from its own file, the preludes it needs and a table `KEY` that gives its
KEYS names. Its arguments arrive as one JSON object, `ARG`, so that neither side counts positions.
A script refuses with a code, which becomes an error of ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from deployments.errors import (
    CollectionNotFound,
    IllegalTransition,
    JobNotFound,
    LeaseLost,
    QueueFull,
    RagserveError,
)
from deployments.state.connection import answering

_VERSIONS = ("prelude", "versions")
_JOBS = ("prelude", "versions", "jobs")
_PRELUDES = {
    "submit": _JOBS,
    "cancel": _JOBS,
    "resume": _JOBS,
    "start": _JOBS,
    "begin_file": _JOBS,
    "report_file": _JOBS,
    "commit_file": _JOBS,
    "skip_file": _JOBS,
    "fail_file": _JOBS,
    "finish": _JOBS,
    "hide": _VERSIONS,
    "swept": _VERSIONS,
    "forget": _VERSIONS,
}

RETRY_AFTER_S = 5
"""When to try again after QueueFull: a job is seldom done sooner."""


class Script:
    """One step, bound to a client and to the names of its keys."""

    def __init__(self, client: Redis, name: str, keys: Sequence[str]) -> None:
        self._keys = tuple(keys)
        self._run = client.register_script(_text(name, self._keys))

    async def __call__(
        self, keys: Mapping[str, str], extra: Sequence[str] = (), /, **arguments: object
    ) -> Any:
        """Run it.

        Raises:
            StateUnavailable: Redis is out or refused the command.
            CollectionNotFound, JobNotFound, IllegalTransition, LeaseLost, QueueFull: the script
                refused.
        """
        async with answering():
            try:
                return await self._run(
                    keys=[keys[name] for name in self._keys],
                    args=[json.dumps(arguments), *extra],
                )
            except ResponseError as error:
                refusal = _refusal(str(error))
                if refusal is None:
                    raise
        raise refusal


def _text(name: str, keys: Sequence[str]) -> str:
    folder = files(__package__)
    names = ", ".join(f"{key} = KEYS[{number}]" for number, key in enumerate(keys, start=1))
    parts = [f"local KEY = {{ {names} }}"]
    parts += [
        folder.joinpath(f"{part}.lua").read_text() for part in _PRELUDES.get(name, ("prelude",))
    ]
    parts += ["local function main()", folder.joinpath(f"{name}.lua").read_text(), "end"]
    parts += [
        "local ok, answer = pcall(main)",
        "if ok then return answer end",
        "if type(answer) == 'table' and answer.refusal then",
        "  return redis.error_reply(answer.refusal)",
        "end",
        "error(answer)",
    ]
    return "\n".join(parts)


def _refusal(text: str) -> RagserveError | None:
    code, _, message = text.partition(" ")
    match code:
        case "JOB_NOT_FOUND":
            return JobNotFound(message)
        case "COLLECTION_NOT_FOUND":
            return CollectionNotFound(message)
        case "ILLEGAL":
            return IllegalTransition(message)
        case "LEASE_LOST":
            return LeaseLost(message)
        case "QUEUE_FULL":
            return QueueFull(message, retry_after_s=RETRY_AFTER_S)
    return None
