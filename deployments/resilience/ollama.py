"""What a failed call to an Ollama server means; both its engines share it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import ollama
from pydantic import ValidationError

from deployments.errors import (
    ContextLengthExceeded,
    DependencyError,
    InvalidRequest,
    Overloaded,
    RagserveError,
)

_RETRY_AFTER_S = 2.0
"""Ollama names no time when its queue is full."""


@dataclass(frozen=True, slots=True)
class OllamaCalls:
    """Calls for `model` to the Ollama server at `url`."""

    url: str
    model: str
    unavailable: type[DependencyError]
    missing: type[DependencyError]

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise our own errors for the client's.

        Raises:
            missing: the server lacks the model.
            InvalidRequest: the server refused the request itself.
            ContextLengthExceeded: it did so for its length.
            Overloaded: the server's queue (OLLAMA_MAX_QUEUE) is full; carries `retry_after_s`.
            unavailable: any other failure of the server.
        """
        try:
            yield
        except ollama.ResponseError as error:
            raise self._meaning(error) from error
        except (ConnectionError, httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise self.unavailable(f"Ollama cannot be reached at {self.url}") from error
        except httpx.TimeoutException as error:
            raise self.unavailable(f"Ollama at {self.url} does not answer in time") from error
        except httpx.HTTPError as error:
            raise self.unavailable(f"the connection to Ollama at {self.url} broke") from error
        except (json.JSONDecodeError, ValidationError, AttributeError, TypeError) as error:
            # The official client takes each line for a JSON object of the right shape.
            raise self.unavailable(f"Ollama at {self.url} sent something unreadable") from error

    def _meaning(self, error: ollama.ResponseError) -> RagserveError:
        reason = str(error.error)
        match error.status_code:
            case 404:
                return self.missing(
                    f"Ollama at {self.url} does not hold the model {self.model!r}: "
                    f"run `ollama pull {self.model}` there"
                )
            case 503 | 429:
                return Overloaded("Ollama's queue is full", retry_after_s=_RETRY_AFTER_S)
            case 400 if "context length" in reason or "context size" in reason:
                return ContextLengthExceeded(f"Ollama refused the prompt: {reason}")
            case 400:
                return InvalidRequest(f"Ollama refused the request: {reason}")
            case _:
                return self.unavailable(f"Ollama at {self.url} failed: {reason}")
