"""What goes over the wire: requests and responses of the HTTP API."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from deployments.contracts.retrieval import Fusion, SearchMode
from serve_app.auth.patterns import MOST_PATTERNS, PATTERN

CollectionName = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$"), Field(examples=["handbook"])
]
MOST_COLLECTIONS = 16
"""In one request: each is searched by itself."""
DocumentId = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,128}$"),
    Field(examples=["doc_2c26b46b68ffc68ff99b453c"]),
]
MetadataField = Annotated[
    dict[str, Any], Field(max_length=64, examples=[{"year": 2026, "tags": ["hr", "leave"]}])
]
JobId = Annotated[str, Field(examples=["job_019abc8f2e7d4c1b9a0e6f52"])]
Timestamp = Annotated[float, Field(description="Unix seconds.", examples=[1764009600.0])]
Degraded = Annotated[
    list[str],
    Field(description="What the answer had to do without.", examples=[["lexical_only"]]),
]
RequestId = Annotated[str, Field(examples=["4bf92f3577b34da6a3ce929d0e0e4736"])]
TimingsMs = Annotated[
    dict[str, float], Field(examples=[{"embed": 6.1, "search": 9.8, "total": 412.5}])
]


class Wire(BaseModel):
    """A strict body: an unknown field is an error, not a silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProblemDocument(BaseModel):
    """RFC 9457 problem details. `code` is stable: programs may depend on it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    instance: str = ""
    request_id: str = ""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Not found",
                    "status": 404,
                    "detail": "There is no collection 'handbook'.",
                    "code": "collection_not_found",
                    "request_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                    "collection": "handbook",
                }
            ]
        },
    )


# Collections


class CollectionCreate(Wire):
    name: CollectionName
    description: Annotated[
        str, StringConstraints(max_length=500), Field(examples=["Rules for everybody here"])
    ] = ""


class CollectionOut(Wire):
    name: CollectionName
    description: str
    embedding_model: Annotated[str, Field(examples=["all-MiniLM-L6-v2"])]
    dimension: Annotated[int, Field(examples=[384])]
    documents: Annotated[int, Field(examples=[12])]
    chunks: Annotated[int, Field(examples=[340])]
    created_at: Timestamp


class CollectionList(Wire):
    collections: list[CollectionOut]


# Documents


class TextDocument(Wire):
    """A document sent as JSON."""

    id: DocumentId | None = None
    title: Annotated[
        str, StringConstraints(min_length=1, max_length=300), Field(examples=["Leave"])
    ]
    text: Annotated[
        str,
        StringConstraints(min_length=1),
        Field(examples=["# Holidays\n\nFull-time employees have 29 days of paid holiday a year."]),
    ]
    content_type: Literal["text/plain", "text/markdown", "text/html"] = "text/markdown"
    metadata: MetadataField = {}


class TextDocuments(Wire):
    documents: Annotated[list[TextDocument], Field(min_length=1, max_length=1000)]


SourceUrl = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2000),
    Field(examples=["https://example.org/guide.html", "s3://bucket/docs/*.pdf"]),
]


class SourceDocuments(Wire):
    """Documents for the server to fetch, from where its operator allows: pages, folders, globs."""

    sources: Annotated[list[SourceUrl], Field(min_length=1, max_length=1000)]
    metadata: MetadataField = {}


class DocumentOut(Wire):
    id: DocumentId
    title: Annotated[str, Field(examples=["Leave"])]
    source: Annotated[str, Field(examples=["handbook/leave.md"])]
    content_type: Annotated[str, Field(examples=["text/markdown"])]
    content_hash: Annotated[str, Field(description="SHA-256 of its bytes, hex.")]
    size_bytes: Annotated[int, Field(examples=[5120])]
    chunks: Annotated[int, Field(examples=[7])]
    ingested_at: Timestamp
    metadata: MetadataField


class DocumentList(Wire):
    documents: list[DocumentOut]
    total: int
    offset: int
    limit: int


# Jobs


class FileOut(Wire):
    number: int
    document_id: str
    name: str
    state: Literal["PENDING", "PROCESSING", "DONE", "UNCHANGED", "FAILED", "CANCELLED"]
    size_bytes: int
    chunks_done: int
    chunks_total: int
    error_code: str | None = None
    error_message: str | None = None


class ProgressOut(Wire):
    files_total: int
    files_done: int
    files_unchanged: int
    files_failed: int
    chunks_done: int
    chunks_total: int
    bytes_total: int
    bytes_done: int
    chunks_per_s: float | None = None
    eta_s: float | None = None


class TransitionOut(Wire):
    state: Annotated[str, Field(examples=["PROCESSING"])]
    at: Timestamp


class JobOut(Wire):
    id: JobId
    collection: CollectionName
    state: Literal["PENDING", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED"]
    cancel_requested: bool
    progress: ProgressOut
    error_code: str | None = None
    error_message: str | None = None
    created_at: Timestamp
    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    transitions: list[TransitionOut]
    files: list[FileOut] | None = None


class JobList(Wire):
    jobs: list[JobOut]
    next_cursor: str | None = None


# Search


class Retrieval(Wire):
    """How passages are found. Every stage can be chosen per request."""

    mode: SearchMode = SearchMode.HYBRID
    fusion: Fusion | None = None
    lexical_weight: Annotated[float, Field(ge=0, le=1)] | None = None
    candidates: Annotated[int, Field(ge=1, le=200)] | None = None
    top_k: Annotated[int, Field(ge=1, le=50)] | None = None
    rerank: bool | None = None
    neighbours: Annotated[int, Field(ge=0, le=3)] = 0
    diversity: Annotated[float, Field(ge=0, le=1)] = 0.0
    filter: dict[str, Any] | None = Field(
        default=None,
        description="A typed filter over document fields and metadata.",
        examples=[{"field": "year", "gte": 2024}],
    )


class Asked(Retrieval):
    """What a search or a question goes to: one collection, or several as if they were one."""

    collection: CollectionName | None = None
    collections: (
        Annotated[
            list[CollectionName],
            Field(
                min_length=1,
                max_length=MOST_COLLECTIONS,
                description="Instead of `collection`, to look in several at once.",
                examples=[["handbook", "policies"]],
            ),
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.collection is None) == (self.collections is None):
            raise ValueError("name either `collection` or `collections`")
        if self.collections and len(set(self.collections)) < len(self.collections):
            raise ValueError("`collections` names one twice")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """All collections named, at least one."""
        return tuple(self.collections or ()) or (self.collection or "",)


class SearchIn(Asked):
    query: Annotated[
        str,
        StringConstraints(min_length=1, max_length=8000),
        Field(examples=["days of paid holiday"]),
    ]
    on_degraded: Literal["serve", "fail"] = "serve"


class PassageOut(Wire):
    """A found passage. `number` is what citations refer to."""

    number: int
    collection: str = ""
    document_id: str
    title: str
    source: str
    heading: str
    page: int | None
    start_char: int
    end_char: int
    text: str
    score: float
    dense_score: float | None = None
    lexical_score: float | None = None
    rerank_score: float | None = None
    metadata: dict[str, Any]


class SearchOut(Wire):
    passages: list[PassageOut]
    timings_ms: TimingsMs
    degraded: Degraded
    request_id: RequestId


# Query


class ChatTurn(Wire):
    role: Literal["user", "assistant"]
    content: Annotated[
        str,
        StringConstraints(min_length=1, max_length=32000),
        Field(examples=["How much holiday do I have?"]),
    ]


class QueryIn(Asked):
    question: Annotated[
        str,
        StringConstraints(min_length=1, max_length=8000),
        Field(examples=["How many days of paid holiday are there?"]),
    ]
    history: Annotated[list[ChatTurn], Field(max_length=50)] = []
    stream: bool = False
    answer: Literal["generate", "extract"] = "generate"
    max_tokens: Annotated[int, Field(ge=1, le=4096)] = 256
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    cache: bool = True
    on_degraded: Literal["serve", "fail"] = "serve"
    deadline_s: Annotated[float, Field(gt=0, le=300)] | None = None


class CitationOut(Wire):
    """A sentence of the answer and the passage that supports it.

    `start`/`end` bound the sentence in the answer; `quote_start`/`quote_end` bound the
    supporting words in the passage's text.
    """

    passage: int
    document_id: str
    title: str
    page: int | None
    heading: str
    start: int
    end: int
    quote_start: int
    quote_end: int
    score: float
    origin: Literal["model", "platform"]


class SentenceOut(Wire):
    """How well one sentence of the answer is supported by the passages."""

    start: int
    end: int
    passage: int | None
    score: float
    grounded: bool


class UsageOut(Wire):
    prompt_tokens: int
    completion_tokens: int


class QueryOut(Wire):
    answer: Annotated[
        str, Field(examples=["Full-time employees have 29 days of paid holiday a year. [1]"])
    ]
    answered: bool
    citations: list[CitationOut]
    grounding: list[SentenceOut]
    grounding_score: float
    passages: list[PassageOut]
    usage: UsageOut
    timings_ms: TimingsMs
    degraded: Degraded
    cached: bool
    model: Annotated[str, Field(examples=["llama3.2"])]
    finish_reason: Annotated[str, Field(examples=["stop"])]
    request_id: RequestId


# Callers


class PrincipalOut(Wire):
    id: str
    name: str
    scopes: list[str]
    collections: list[str]
    writable: list[str]


# API keys

ScopeName = Literal["query", "ingest", "admin"]
CollectionPattern = Annotated[
    str, StringConstraints(pattern=PATTERN), Field(examples=["handbook", "team_*"])
]
Patterns = Annotated[list[CollectionPattern], Field(min_length=1, max_length=MOST_PATTERNS)]


class KeyCreate(Wire):
    name: Annotated[str, StringConstraints(min_length=1, max_length=100), Field(examples=["CI"])]
    scopes: Annotated[list[ScopeName], Field(min_length=1, max_length=3)] = ["query"]
    collections: Annotated[Patterns, Field(description="What it may read; * for any characters.")]
    writable: Annotated[
        list[CollectionPattern] | None,
        Field(max_length=MOST_PATTERNS, description="What it may write; left out: the same."),
    ] = None
    expires_in_s: Annotated[
        float | None, Field(ge=1, le=10 * 365 * 86400, examples=[90 * 86400])
    ] = None


class KeyRotate(Wire):
    overlap_s: Annotated[
        float, Field(ge=0, le=30 * 86400, description="How long the old one stays good.")
    ] = 0.0


class KeyOut(Wire):
    """What is known of a key; its text is not."""

    prefix: Annotated[str, Field(examples=["k3j9x0ab"])]
    name: str
    scopes: list[str]
    collections: list[str]
    writable: list[str]
    created_at: Timestamp
    expires_at: Timestamp | None = None
    last_used_at: Timestamp | None = None


class KeyMade(KeyOut):
    """A key with its text, which is shown this once."""

    key: Annotated[str, Field(examples=["rsk_k3j9x0ab_..."])]


class KeyList(Wire):
    keys: list[KeyOut]


# Health


class DependencyOut(Wire):
    name: str
    state: Literal["up", "down"]
    latency_ms: float | None
    detail: str = ""
    breaker: Literal["closed", "open", "half_open"] = "closed"
    """While it is open the service is left alone; see docs/resilience.md."""


class HealthOut(Wire):
    status: Literal["ok", "degraded", "unavailable"]
    version: str
    detail: str = ""
    dependencies: list[DependencyOut] = []
