"""The audit log: who did what, when, and what came of it. Never what a document holds.

One JSON object a line, appended in one write, so that the replicas of a node share a file. The
fields `at`, `event`, `outcome`, `principal`, `request_id` and `address` are in every line.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.addresses import Network, client_address
from serve_app.middleware import state_of

logger = logging.getLogger(__name__)

Outcome: TypeAlias = Literal["allowed", "refused", "failed"]

# The routes that change something, by their function's name.
AUDITED: Final[Mapping[str, str]] = {
    "create_collection": "collection.create",
    "delete_collection": "collection.delete",
    "ingest_documents": "document.ingest",
    "delete_document": "document.delete",
    "cancel_job": "job.cancel",
    "resume_job": "job.resume",
    "create_key": "key.create",
    "rotate_key": "key.rotate",
    "revoke_key": "key.revoke",
}
LONGEST_FACT_CHARS: Final = 200


class AuditLog:
    """Appends to a file that its owner alone may read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def record(
        self,
        event: str,
        outcome: Outcome,
        *,
        principal: str = "",
        request_id: str = "",
        address: str = "",
        **facts: object,
    ) -> None:
        """Write one line. A full disk is logged and stops nobody: refusing all would be worse."""
        line = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event": event,
            "outcome": outcome,
            "principal": principal,
            "request_id": request_id,
            "address": address,
        }
        line |= {name: _short(fact) for name, fact in facts.items()}
        try:
            # A line goes to the page cache in microseconds: not worth a thread.
            os.write(self._file(), json.dumps(line).encode() + b"\n")
        except OSError as error:
            logger.error("the audit log cannot be written: %s", type(error).__name__)  # noqa: TRY400

    def _file(self) -> int:
        if self._descriptor is None:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            self._descriptor = os.open(self._path, flags, 0o600)
        return self._descriptor

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class AuditTrail:
    """Records every request to a route that changes something, whatever came of it."""

    def __init__(self, app: ASGIApp, log: AuditLog, trusted_proxies: tuple[Network, ...]) -> None:
        self._app = app
        self._log = log
        self._trusted_proxies = trusted_proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = 0

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        finally:
            self._record(scope, status)

    def _record(self, scope: Scope, status: int) -> None:
        event = AUDITED.get(getattr(scope.get("route"), "name", ""))
        if event is None:
            return
        state = state_of(scope)
        self._log.record(
            event,
            _outcome(status),
            principal=state["principal"].id,
            request_id=state.get("request_id", ""),
            address=client_address(scope, self._trusted_proxies),
            status=status,
            **scope.get("path_params", {}),
            **state.get("facts", {}),
        )


def _outcome(status: int) -> Outcome:
    if 0 < status < 400:
        return "allowed"
    # Without a status the caller left, or the request broke here, before there was an answer.
    return "refused" if 400 <= status < 500 else "failed"


def _short(fact: Any) -> Any:
    if isinstance(fact, str):
        return fact[:LONGEST_FACT_CHARS].encode(errors="replace").decode()
    return fact
