"""Asks a new version something before it is called released."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from serve_app.releases.rollout import SmokeFailed

READY_PATIENCE_S = 30.0
QUESTION = "What is this collection about?"
QUESTIONS = 3
"""So that more than one of the new replicas is asked."""


@dataclass(frozen=True, slots=True)
class SmokeQuery:
    """Every part is ready, and a question to `collection`, if one is named, gets an answer."""

    url: str
    api_key: str | None = None
    collection: str | None = None
    question: str = QUESTION
    timeout_s: float = 60.0
    transport: httpx.BaseTransport | None = None
    sleep: Callable[[float], None] = time.sleep

    def __call__(self) -> None:
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        with httpx.Client(
            base_url=self.url, headers=headers, timeout=self.timeout_s, transport=self.transport
        ) as http:
            try:
                self._await_ready(http)
                for _ in range(QUESTIONS if self.collection else 0):
                    self._ask(http)
            except httpx.HTTPError as error:
                raise SmokeFailed(f"{self.url}: {type(error).__name__}.") from error

    def _await_ready(self, http: httpx.Client) -> None:
        for _ in range(int(READY_PATIENCE_S)):
            response = http.get("/health/ready")
            if response.is_success:
                return
            self.sleep(1.0)
        raise SmokeFailed(f"{self.url} is not ready: {response.text[:500]}.")

    def _ask(self, http: httpx.Client) -> None:
        # A rung of the degradation ladder would hide that the new version lacks a part.
        body = {
            "collection": self.collection,
            "question": self.question,
            "on_degraded": "fail",
            "cache": False,
        }
        response = http.post("/v1/query", json=body)
        if not response.is_success:
            raise SmokeFailed(f"The smoke query got {response.status_code}: {response.text[:500]}.")
        if not response.json().get("answer"):
            raise SmokeFailed("The smoke query got an empty answer.")
