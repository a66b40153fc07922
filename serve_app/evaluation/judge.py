"""A language model's opinion of an answer, by any OpenAI-compatible endpoint.

A judge errs, a small one often: its figures compare two set-ups on the same questions, they are no
measure by themselves. What it says that is no number is counted as no judgement.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from serve_app.schemas import PassageOut

FAITHFULNESS = """Passages:
{passages}

Answer:
{answer}

How much of the answer is supported by the passages? 10 means all of it, 0 none of it. What you \
know yourself does not count. Reply with the number alone."""
RELEVANCE = """Question:
{question}

Answer:
{answer}

How well does the answer answer the question? 10 means fully, 0 not at all. Whether it is true \
does not count. Reply with the number alone."""
BEST = 10.0
REPLY_TOKENS = 16
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


class JudgeUnavailable(Exception):
    """The judge cannot be asked; its text says why."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Shares (0..1); None where the judge gave no number."""

    faithfulness: float | None
    relevance: float | None


class Judge:
    """Asks `model` through `http`, whose base URL is the endpoint's (it ends in `/v1`)."""

    def __init__(self, http: httpx.Client, model: str) -> None:
        self._http = http
        self.model = model

    def judge(self, question: str, answer: str, passages: Sequence[PassageOut]) -> Judgement:
        """Two questions to the judge. Raises JudgeUnavailable."""
        shown = "\n\n".join(f"[{passage.number}] {passage.text}" for passage in passages)
        return Judgement(
            faithfulness=self._ask(FAITHFULNESS.format(passages=shown, answer=answer)),
            relevance=self._ask(RELEVANCE.format(question=question, answer=answer)),
        )

    def _ask(self, text: str) -> float | None:
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": REPLY_TOKENS,
            "temperature": 0,
        }
        try:
            answer = self._http.post("chat/completions", json=body)
            answer.raise_for_status()
            said = answer.json()["choices"][0]["message"]["content"] or ""
        except httpx.HTTPStatusError as error:
            raise JudgeUnavailable(f"the judge answered {error.response.status_code}") from error
        except httpx.HTTPError as error:
            raise JudgeUnavailable("the judge cannot be reached") from error
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise JudgeUnavailable("the judge does not answer as OpenAI's API does") from error
        return share(said)


def share(said: str) -> float | None:
    """The number that a judge said as a share of the best, None where it said none in bounds."""
    match = _NUMBER.search(said)
    if match is None or float(match.group()) > BEST:
        return None
    return float(match.group()) / BEST


def default_model(http: httpx.Client) -> str:
    """The endpoint's first model, which is a service's language model. Raises JudgeUnavailable."""
    try:
        answer = http.get("models")
        answer.raise_for_status()
        return str(answer.json()["data"][0]["id"])
    except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
        raise JudgeUnavailable("the judge's models cannot be listed; name one") from error
