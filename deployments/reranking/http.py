"""A cross-encoder behind an HTTP endpoint: TEI's `/rerank`, or Cohere's and vLLM's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import httpx

from deployments.environment import variable
from deployments.errors import ConfigurationError, Overloaded, RerankUnavailable

_RETRY_AFTER_S = 2.0
"""Where the server names no time itself."""
_FULL = {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE}


class HttpReranker:
    """Asks `url`, the endpoint's whole address, for the scores of all passages at once.

    `style` is how the endpoint wants to be asked: `tei` (text-embeddings-inference: `texts`) or
    `cohere` (Cohere, Jina, vLLM, llama.cpp: `model` and `documents`). `api_key_env` names the
    variable that holds the key. `timeout_s` bounds the whole call.

    Raises:
        ConfigurationError: that variable is not set, or `cohere` was given no `model`.
    """

    def __init__(
        self,
        *,
        url: str,
        style: Literal["tei", "cohere"] = "tei",
        model: str | None = None,
        api_key_env: str | None = None,
        timeout_s: float = 10.0,
        connect_timeout_s: float = 2.0,
    ) -> None:
        if style == "cohere" and model is None:
            raise ConfigurationError("a Cohere-style rerank endpoint must be told its model")
        self._url = url
        self._style = style
        self._model = model
        self._timeout_s = timeout_s
        self._client = httpx.AsyncClient(
            headers=_authorization(api_key_env),
            timeout=httpx.Timeout(timeout_s, connect=connect_timeout_s),
        )

    async def rerank(self, question: str, passages: Sequence[str]) -> list[float]:
        if not passages:
            return []
        with self._translated():
            async with asyncio.timeout(self._timeout_s):
                answer = await self._client.post(self._url, json=self._body(question, passages))
            answer.raise_for_status()
            return _scores(answer.json(), len(passages))

    async def aclose(self) -> None:
        """Close the connections to the endpoint."""
        await self._client.aclose()

    def _body(self, question: str, passages: Sequence[str]) -> dict[str, object]:
        if self._style == "tei":
            return {"query": question, "texts": list(passages), "truncate": True}
        return {"model": self._model, "query": question, "documents": list(passages)}

    @contextmanager
    def _translated(self) -> Iterator[None]:
        server = f"the rerank endpoint at {self._url}"
        try:
            yield
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            if status in _FULL:
                wait_s = _wait_s(error.response.headers.get("retry-after"))
                raise Overloaded(f"{server} has no room", retry_after_s=wait_s) from error
            raise RerankUnavailable(f"{server} answered {status}") from error
        except (httpx.TimeoutException, TimeoutError) as error:
            raise RerankUnavailable(f"{server} did not answer in time") from error
        except httpx.HTTPError as error:
            raise RerankUnavailable(f"{server} cannot be reached") from error
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise RerankUnavailable(f"{server} sent no score for each passage") from error


def _scores(answer: Any, passages: int) -> list[float]:
    """The scores by passage; both styles send them best first, each with its passage's index."""
    rows = answer["results"] if isinstance(answer, dict) else answer
    scores = {
        int(row["index"]): float(row["score"] if "score" in row else row["relevance_score"])
        for row in rows
    }
    return [scores[index] for index in range(passages)]


def _authorization(api_key_env: str | None) -> dict[str, str]:
    if api_key_env is None:
        return {}
    if not (key := variable(api_key_env)):
        raise ConfigurationError(
            f"the environment variable {api_key_env} must hold the rerank endpoint's API key"
        )
    return {"Authorization": f"Bearer {key}"}


def _wait_s(header: str | None) -> float:
    try:
        return float(header or _RETRY_AFTER_S)
    except ValueError:  # A date.
        return _RETRY_AFTER_S
