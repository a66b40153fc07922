"""The one error tree.

    RagserveError
    ├── CallerError                  the caller can fix it
    │   ├── InvalidRequest
    │   │   ├── InvalidFilter
    │   │   └── UnsupportedMediaType
    │   ├── Unauthenticated
    │   ├── Forbidden
    │   │   └── SourceForbidden      a URL that the operator does not allow
    │   ├── NotFound
    │   │   ├── CollectionNotFound
    │   │   ├── DocumentNotFound
    │   │   ├── JobNotFound
    │   │   └── SourceNotFound       nothing is at a URL
    │   ├── Conflict
    │   │   ├── CollectionExists
    │   │   ├── ModelMismatch
    │   │   ├── IllegalTransition
    │   │   └── IdempotencyKeyReused
    │   ├── TooLarge
    │   ├── ContextLengthExceeded
    │   ├── RequestTimeout           the request's body came too slowly
    │   └── RateLimited              carries retry_after_s
    ├── DocumentError                one file is bad; its job goes on
    │   ├── UnsupportedFormat
    │   ├── DamagedDocument
    │   ├── EncryptedDocument
    │   ├── EmptyDocument
    │   ├── DocumentTooLarge
    │   ├── DocumentTimeout
    │   └── StagedFileLost           its bytes are no longer in the blob store
    ├── DependencyError              something behind us is out; trying later may help
    │   ├── EmbeddingUnavailable
    │   ├── GenerationUnavailable
    │   │   └── ModelNotFound
    │   ├── RerankUnavailable
    │   ├── StoreUnavailable
    │   ├── StateUnavailable
    │   ├── BlobsUnavailable
    │   │   └── BlobsFull
    │   ├── SourceUnavailable
    │   └── IdentityUnavailable      the keys that prove a token cannot be had
    ├── Overloaded                   no room now; carries retry_after_s
    │   └── QueueFull
    ├── DeadlineExceeded
    ├── LeaseLost                    another supervisor holds the collection now
    ├── WorkerDied                   the process that ran a task died
    ├── JobCancelled                 the job's owner asked for its end
    └── ConfigurationError           the operator can fix it; stops the start

Every class takes `(message="", **details)`, so that it pickles across replicas. `code` is stable
and public; HTTP statuses live in `serve_app/problems.py`.
"""

from __future__ import annotations

from typing import Any, ClassVar


class RagserveError(Exception):
    """The root. `details` are public: they go into the response's problem document."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.details))


def _rebuild(cls: type[RagserveError], message: str, details: dict[str, Any]) -> RagserveError:
    return cls(message, **details)


class CallerError(RagserveError):
    code = "invalid_request"


class InvalidRequest(CallerError):
    code = "invalid_request"


class InvalidFilter(InvalidRequest):
    code = "invalid_filter"


class UnsupportedMediaType(InvalidRequest):
    code = "unsupported_media_type"


class Unauthenticated(CallerError):
    code = "unauthenticated"


class Forbidden(CallerError):
    code = "forbidden"


class SourceForbidden(Forbidden):
    code = "source_forbidden"


class NotFound(CallerError):
    code = "not_found"


class CollectionNotFound(NotFound):
    code = "collection_not_found"


class DocumentNotFound(NotFound):
    code = "document_not_found"


class JobNotFound(NotFound):
    code = "job_not_found"


class SourceNotFound(NotFound):
    code = "source_not_found"


class Conflict(CallerError):
    code = "conflict"


class CollectionExists(Conflict):
    code = "collection_exists"


class ModelMismatch(Conflict):
    code = "model_mismatch"


class IllegalTransition(Conflict):
    code = "illegal_transition"


class IdempotencyKeyReused(Conflict):
    code = "idempotency_key_reused"


class TooLarge(CallerError):
    code = "too_large"


class ContextLengthExceeded(CallerError):
    code = "context_length_exceeded"


class RequestTimeout(CallerError):
    code = "request_timeout"


class RateLimited(CallerError):
    code = "rate_limited"


class DocumentError(RagserveError):
    code = "document_error"


class UnsupportedFormat(DocumentError):
    code = "unsupported_format"


class DamagedDocument(DocumentError):
    code = "damaged_document"


class EncryptedDocument(DocumentError):
    code = "encrypted_document"


class EmptyDocument(DocumentError):
    code = "empty_document"


class DocumentTooLarge(DocumentError):
    code = "document_too_large"


class DocumentTimeout(DocumentError):
    code = "document_timeout"


class StagedFileLost(DocumentError):
    code = "staged_file_lost"


class DependencyError(RagserveError):
    code = "dependency_unavailable"


class EmbeddingUnavailable(DependencyError):
    code = "embedding_unavailable"


class GenerationUnavailable(DependencyError):
    code = "generation_unavailable"


class ModelNotFound(GenerationUnavailable):
    code = "model_not_found"


class RerankUnavailable(DependencyError):
    code = "rerank_unavailable"


class StoreUnavailable(DependencyError):
    code = "store_unavailable"


class StateUnavailable(DependencyError):
    code = "state_unavailable"


class BlobsUnavailable(DependencyError):
    code = "blobs_unavailable"


class BlobsFull(BlobsUnavailable):
    code = "blobs_full"


class SourceUnavailable(DependencyError):
    code = "source_unavailable"


class IdentityUnavailable(DependencyError):
    code = "identity_unavailable"


class Overloaded(RagserveError):
    code = "overloaded"


class QueueFull(Overloaded):
    code = "queue_full"


class DeadlineExceeded(RagserveError):
    code = "deadline_exceeded"


class LeaseLost(RagserveError):
    code = "lease_lost"


class WorkerDied(RagserveError):
    code = "worker_died"


class JobCancelled(RagserveError):
    code = "job_cancelled"


class ConfigurationError(RagserveError):
    code = "configuration_error"
