"""What a streamed question yields: the passages, the answer's pieces, the finished answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from pydantic import BaseModel, ValidationError

from serve_app.client.errors import UnexpectedAnswer, problem_error
from serve_app.client.sse import ServerEvent
from serve_app.schemas import PassageOut, QueryOut


class PassagesFound(BaseModel):
    """What was found, before the first word of the answer."""

    passages: list[PassageOut]
    degraded: list[str] = []
    request_id: str = ""


class TokenReceived(BaseModel):
    """A piece of the answer as the model writes it."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The end. `result.answer` is the checked text and replaces the pieces received."""

    result: QueryOut


QueryEvent: TypeAlias = PassagesFound | TokenReceived | Finished


def query_event(event: ServerEvent) -> QueryEvent | None:
    """The typed event, or None for a kind this client does not know.

    Raises:
        ApiError: the event is an `error`.
        UnexpectedAnswer: its data is not what the API describes.
    """
    if event.event == "error":
        raise problem_error(event.data)
    try:
        if event.event == "passages":
            return PassagesFound.model_validate_json(event.data, extra="ignore")
        if event.event == "token":
            return TokenReceived.model_validate_json(event.data)
        if event.event == "done":
            return Finished(QueryOut.model_validate_json(event.data, extra="ignore"))
    except ValidationError as failure:
        raise UnexpectedAnswer(
            f"The server sent a {event.event!r} event that this client cannot read."
        ) from failure
    return None
