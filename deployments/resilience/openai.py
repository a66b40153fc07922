"""What a failed call to an OpenAI-compatible server means; both its engines share it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
import openai

from deployments.environment import variable
from deployments.errors import (
    CallerError,
    ConfigurationError,
    ContextLengthExceeded,
    DependencyError,
    InvalidRequest,
    Overloaded,
    RagserveError,
)

_RETRY_AFTER_S = 2.0
"""Where the server names no time itself."""

# Servers agree on the status (400) and disagree on the code: llama.cpp, vLLM and OpenAI each
# have their own words.
_TOO_LONG = re.compile(
    r"context[_ ](length|size|window)|maximum context|too (long|many tokens)|exceed_context",
    re.IGNORECASE,
)


_NO_KEY = "none"
"""The client insists on a key; servers without authentication take no notice of it."""


def key_from(api_key_env: str | None) -> str:
    """The API key in that environment variable, or in the file that it names with `_FILE`.

    Raises:
        ConfigurationError: neither is set.
    """
    if api_key_env is None:
        return _NO_KEY
    if not (key := variable(api_key_env)):
        raise ConfigurationError(
            f"the environment variable {api_key_env} must hold the model server's API key"
        )
    return key


@dataclass(frozen=True, slots=True)
class OpenAICalls:
    """Calls for `model` to the server at `url`, whose key the variable `api_key_env` holds."""

    url: str
    model: str
    api_key_env: str | None
    unavailable: type[DependencyError]
    missing: type[DependencyError]

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise our own errors for the client's.

        Raises:
            missing: the server lacks the model.
            InvalidRequest: the server refused the request itself.
            ContextLengthExceeded: it did so for its length.
            Overloaded: the server is full or limits us; carries `retry_after_s`.
            unavailable: any other failure of the server.
        """
        server = f"the model server at {self.url}"
        try:
            yield
        except openai.APIStatusError as error:
            raise (self._refusal(error) or self._outage(error)) from error
        except openai.APITimeoutError as error:
            raise self.unavailable(f"{server} does not answer in time") from error
        except (openai.APIConnectionError, httpx2.ConnectError) as error:
            raise self.unavailable(f"{server} cannot be reached") from error
        except openai.APIError as error:
            raise self.unavailable(f"{server} failed: {error.message}") from error
        except httpx2.HTTPError as error:
            raise self.unavailable(f"the connection to {server} broke") from error
        except (json.JSONDecodeError, AttributeError, TypeError) as error:
            raise self.unavailable(f"{server} sent something unreadable") from error

    def _refusal(self, error: openai.APIStatusError) -> CallerError | None:
        """What the caller got wrong, if it was the caller."""
        if error.status_code not in {400, 413, 422}:
            return None
        reason = _reason(error)
        if _TOO_LONG.search(f"{error.code} {error.type} {reason}"):
            return ContextLengthExceeded(f"the model server refused the prompt: {reason}")
        return InvalidRequest(f"the model server refused the request: {reason}")

    def _outage(self, error: openai.APIStatusError) -> RagserveError:
        match error.status_code:
            case 401 | 403:
                key = f"that of {self.api_key_env}" if self.api_key_env else "none was given"
                return self.unavailable(
                    f"the model server at {self.url} refused the API key ({key})"
                )
            case 404:
                return self.missing(
                    f"the model server at {self.url} does not hold the model {self.model!r}"
                )
            case 429 if error.code == "insufficient_quota":
                return self.unavailable(f"the account at {self.url} has no quota left")
            case 429 | 503:
                return Overloaded("the model server has no room", retry_after_s=_wait_s(error))
            case status:
                return self.unavailable(
                    f"the model server at {self.url} failed with {status}: {_reason(error)}"
                )


def _reason(error: openai.APIStatusError) -> str:
    if isinstance(error.body, dict) and isinstance(error.body.get("message"), str):
        return str(error.body["message"])
    return error.message


def _wait_s(error: openai.APIStatusError) -> float:
    try:
        return max(0.0, float(error.response.headers.get("retry-after", "")))
    except ValueError:  # absent, or a date
        return _RETRY_AFTER_S
