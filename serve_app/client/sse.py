"""Server-Sent Events as the HTML standard parses them.

Lines end at CR, LF or CRLF only. `httpx.Response.iter_lines` also splits at U+2028, form feeds
and other characters that a document's text may hold, which would cut an event in two; hence a
parser of bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE_END = re.compile(rb"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event. `id` is the last event id known when it was sent.

    A comment, which servers send to show that they are alive, has the empty string as `event`.
    """

    event: str
    data: str
    id: str


class EventParser:
    """Takes bytes as they come and gives the events they complete."""

    def __init__(self) -> None:
        self._pending = b""
        self._started = False
        self._event = ""
        self._data: list[str] = []
        self._id = ""

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        """The events that `chunk` completes. An event without its blank line is never given."""
        data = self._pending + chunk
        if not self._started:
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._pending = data
                return
            data = data.removeprefix(_BOM)
            self._started = True
        *lines, rest = self._split(data)
        self._pending = rest
        for line in lines:
            event = self._take(line.decode("utf-8", "replace"))
            if event is not None:
                yield event

    def _split(self, data: bytes) -> list[bytes]:
        # A CR at the very end may be the first half of a CRLF: it waits for the next chunk.
        held = data.endswith(b"\r")
        lines = _LINE_END.split(data[:-1] if held else data)
        if held:
            lines[-1] += b"\r"
        return lines

    def _take(self, line: str) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            return ServerEvent("", value, self._id)
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

    def _dispatch(self) -> ServerEvent | None:
        event, data = self._event or "message", self._data
        self._event, self._data = "", []
        return ServerEvent(event, "\n".join(data), self._id) if data else None
