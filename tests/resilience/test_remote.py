"""What calls of other replicas come to when Serve has no room, no replica or no answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from api.desk import QUESTION, Desk
from fake_handles import FakeHandle
from ray.exceptions import ActorDiedError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from deployments.contracts.engines import EngineSpec
from deployments.embedding.deployment import EmbeddingServer, RemoteEmbedder
from deployments.errors import EmbeddingUnavailable, Overloaded
from deployments.resilience.remote import answer_of
from serve_app.build import BUSY_RETRY_AFTER_S, rag
from serve_app.settings import RagArgs

EMBEDDING = EngineSpec("deployments.embedding.memory:HashEmbedder")


def remote(failing_with: Exception) -> RemoteEmbedder:
    server = EmbeddingServer.func_or_class(EMBEDDING)
    return RemoteEmbedder(FakeHandle(server, failing_with))  # type: ignore[arg-type]


FULL = BackPressureError(num_queued_requests=512, max_queued_requests=512)
GONE = DeploymentUnavailableError(DeploymentID("Embedding", "rag"))


async def test_a_full_queue_is_overload_with_a_time_to_come_back() -> None:
    with pytest.raises(Overloaded) as full:
        await remote(FULL).model()
    assert full.value.details["retry_after_s"] == 1.0


@pytest.mark.parametrize("error", [GONE, ActorDiedError()])
async def test_a_deployment_without_replicas_is_out(error: Exception) -> None:
    with pytest.raises(EmbeddingUnavailable):
        await remote(error).model()


@pytest.mark.parametrize("error", [FULL, GONE])
async def test_both_are_told_to_the_caller_as_503_with_retry_after(
    desk: Desk, error: Exception
) -> None:
    desk.embedder.twin = remote(error)
    async with desk.client() as root:
        body = {"collection": "handbook", "question": QUESTION, "on_degraded": "fail"}
        answer = await root.post("/v1/query", json=body | {"deadline_s": 2})
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_replica_that_never_answers_is_given_up_on_and_told_to_stop() -> None:
    class Silent:
        async def model(self) -> Any:
            await asyncio.sleep(60)

    handle = FakeHandle(Silent())
    with pytest.raises(EmbeddingUnavailable, match="did not answer"):
        await answer_of(
            handle.model.remote, unavailable=EmbeddingUnavailable, what="it", timeout_s=0.02
        )
    assert handle.cancelled == ["model"]


def test_what_serve_refuses_itself_says_when_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY_PEPPER", "p" * 40)
    monkeypatch.setenv("JWT_SECRET_KEY", "j" * 40)
    monkeypatch.setenv("INTER_SERVICE_SECRET", "i" * 40)
    ingress = rag(RagArgs())._bound_deployment
    assert ingress.max_queued_requests > 0
    assert ingress.backpressure_config.status_code == 503
    assert ingress.backpressure_config.retry_after_s == BUSY_RETRY_AFTER_S


@pytest.fixture
async def desk(tmp_path: Any) -> Desk:
    made = Desk(tmp_path)
    await made.furnish()
    return made
