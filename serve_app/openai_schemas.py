"""What goes over the wire on the OpenAI-compatible routes.

OpenAI's clients send many fields that mean nothing here (`user`, `store`, penalties...): those are
ignored. A field that would change what the caller has to expect (tools, several choices, a JSON
schema, log probabilities) is refused, for a silent answer without it would be wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from serve_app.schemas import QueryOut, Retrieval

MAX_QUESTION_CHARS = 8000
MAX_INPUTS = 2048
"""Texts in one embeddings request; OpenAI's own limit."""


class Lenient(BaseModel):
    """A body of which the fields we do not know are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Reply(BaseModel):
    """What we answer."""

    model_config = ConfigDict(frozen=True)


def _refused(what: str, harmless: Callable[[Any], bool] = lambda value: not value) -> Any:
    def check(value: Any) -> Any:
        if value is not None and not harmless(value):
            raise ValueError(f"{what} not supported here")
        return value

    return AfterValidator(check)


# Chat


class TextPart(Lenient):
    """A part of a message's content. Pictures and sound are refused."""

    type: Literal["text"]
    text: str


class ChatMessageIn(Lenient):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None = None

    def text(self) -> str:
        """The content as one text."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "\n".join(part.text for part in self.content)


class StreamOptions(Lenient):
    include_usage: bool | None = None


class RagOptions(Retrieval):
    """How a `rag:` model answers: the options of `POST /v1/query`. An unknown one is an error."""

    answer: Literal["generate", "extract"] = "generate"
    cache: bool = True
    on_degraded: Literal["serve", "fail"] = "serve"
    deadline_s: Annotated[float, Field(gt=0, le=300)] | None = None


class ChatIn(Lenient):
    model: str
    messages: Annotated[list[ChatMessageIn], Field(min_length=1, max_length=1000)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    seed: int | None = None
    ragserve: RagOptions = RagOptions()

    n: Annotated[int | None, _refused("several choices are", lambda n: n == 1)] = None
    tools: Annotated[list[Any] | None, _refused("tools are")] = None
    functions: Annotated[list[Any] | None, _refused("functions are")] = None
    logprobs: Annotated[bool | None, _refused("log probabilities are")] = None
    logit_bias: Annotated[dict[str, Any] | None, _refused("a logit bias is")] = None
    modalities: Annotated[
        list[str] | None, _refused("anything but text is", lambda kinds: kinds == ["text"])
    ] = None
    response_format: Annotated[
        dict[str, Any] | None,
        _refused("a format other than text is", lambda form: form.get("type") == "text"),
    ] = None

    def stops(self) -> tuple[str, ...]:
        """The strings that end the answer."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class ChatUsage(Reply):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AssistantMessage(Reply):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class CitedMessage(AssistantMessage):
    """A `rag:` model's message. `ragserve` is what `POST /v1/query` answers.

    `content` is its `answer`, then a `[n]` for each passage that supports the answer and that the
    answer itself does not name.
    """

    ragserve: QueryOut


class Choice(Reply):
    index: Literal[0] = 0
    message: CitedMessage | AssistantMessage
    logprobs: None = None
    finish_reason: Literal["stop", "length"]


class ChatCompletion(Reply):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: ChatUsage


# Embeddings


class EmbeddingsIn(Lenient):
    model: str
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


class EmbeddingOut(Reply):
    """`embedding` is a list of numbers, or base64 of them as little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(Reply):
    """An estimate: the tokens are the embedding model's own affair."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsOut(Reply):
    object: Literal["list"] = "list"
    data: list[EmbeddingOut]
    model: str
    usage: EmbeddingsUsage


# Models


class ModelOut(Reply):
    """`created` is 0 where it is not known."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: Literal["ragserve"] = "ragserve"


class ModelList(Reply):
    object: Literal["list"] = "list"
    data: list[ModelOut]


# Errors


class ErrorOut(Reply):
    """`code` is OpenAI's own where it has one, else the `code` of ragserve's problem documents."""

    message: str
    type: Literal["invalid_request_error", "requests", "server_error"]
    param: str | None = None
    code: str


class ErrorBody(Reply):
    error: ErrorOut
