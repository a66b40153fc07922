"""Replies in the shapes of chat completions: whole, or in chunks."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from deployments.contracts.generation import Usage
from deployments.errors import GenerationUnavailable, RagserveError
from serve_app.openai_schemas import (
    AssistantMessage,
    ChatCompletion,
    ChatUsage,
    Choice,
    CitedMessage,
)
from serve_app.routes.openai.errors import error_body
from serve_app.routes.openai.replies import Ending, Piece
from serve_app.routes.translate import answer_out

logger = logging.getLogger(__name__)

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion: who was asked, and under which id its parts go out."""

    model: str
    request_id: str
    include_usage: bool = False
    created: int = field(default_factory=lambda: int(time.time()))

    async def whole(self, pieces: AsyncGenerator[Piece, None]) -> ChatCompletion:
        """All pieces as one reply."""
        text = ""
        async with aclosing(pieces):
            async for piece in pieces:
                text += piece.text
                if piece.ending is not None:
                    return self._whole(text, piece.ending)
        raise GenerationUnavailable("The answer ended before it was done.")

    async def chunks(
        self, first: Piece, rest: AsyncGenerator[Piece, None]
    ) -> AsyncGenerator[bytes, None]:
        """Server-Sent Events; what goes wrong on the way is one too, and then no `[DONE]`."""
        async with aclosing(rest):
            try:
                yield self._chunk({"role": "assistant", "content": ""})
                yield self._piece(first)
                async for piece in rest:
                    yield self._piece(piece)
            except Exception as error:  # noqa: BLE001 - the response has begun: it must end as one
                yield _event(error_body(self._told(error)).model_dump())
                return
            yield DONE

    def _told(self, error: Exception) -> RagserveError:
        if isinstance(error, RagserveError):
            return error
        logger.exception("the stream of request %s failed", self.request_id, exc_info=error)
        return RagserveError("The stream failed here; the log has the reason.")

    def _whole(self, text: str, ending: Ending) -> ChatCompletion:
        message = AssistantMessage(content=text)
        if ending.answer is not None:
            answer = answer_out(ending.answer, self.request_id)
            message = CitedMessage(content=text, ragserve=answer)
        return ChatCompletion(
            id=self._id,
            created=self.created,
            model=self.model,
            choices=[Choice(message=message, finish_reason=ending.finish_reason)],
            usage=_usage(ending.usage),
        )

    def _piece(self, piece: Piece) -> bytes:
        text = self._chunk({"content": piece.text}) if piece.text else b""
        return text if piece.ending is None else text + self._ending(piece.ending)

    def _ending(self, ending: Ending) -> bytes:
        more: dict[str, Any] = {}
        if ending.answer is not None:
            more["ragserve"] = answer_out(ending.answer, self.request_id).model_dump(mode="json")
        last = self._chunk({}, finish_reason=ending.finish_reason, **more)
        if self.include_usage:
            last += _event(
                {**self._head, "choices": [], "usage": _usage(ending.usage).model_dump()}
            )
        return last

    def _chunk(self, delta: dict[str, str], finish_reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self.include_usage else {}
        return _event({**self._head, "choices": [choice], **usage, **more})

    @property
    def _id(self) -> str:
        return f"chatcmpl-{self.request_id}"

    @property
    def _head(self) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
        }


def _usage(usage: Usage) -> ChatUsage:
    return ChatUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
    )


def _event(body: dict[str, Any]) -> bytes:
    # ASCII: some clients take every Unicode line separator for the end of the event's line.
    return f"data: {json.dumps(body, separators=(',', ':'))}\n\n".encode()
