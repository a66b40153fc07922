"""An embedder in another replica: what travels, and what its failures mean."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from fake_handles import FakeHandle
from ray import serve
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError

from deployments.contracts.embedding import Lane, Vectors
from deployments.contracts.engines import EngineSpec
from deployments.embedding.deployment import EmbeddingServer, RemoteEmbedder
from deployments.embedding.memory import HashEmbedder
from deployments.errors import EmbeddingUnavailable, Overloaded, RagserveError

MESSAGE_LIMIT = 4 * 1024 * 1024
HASHED = EngineSpec("deployments.embedding.memory:HashEmbedder", {"dimension": 384})


class FailingEmbedder(HashEmbedder):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    async def embed(self, texts: Sequence[str], lane: Lane = Lane.QUERY) -> Vectors:
        raise self._error


class EndlessEmbedder(HashEmbedder):
    def __init__(self) -> None:
        super().__init__()
        self.stopped = 0

    async def embed(self, texts: Sequence[str], lane: Lane = Lane.QUERY) -> Vectors:
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            self.stopped += 1


async def test_large_calls_travel_in_messages_under_the_limit_and_keep_their_order() -> None:
    handle = FakeHandle(EmbeddingServer.func_or_class(HASHED))
    texts = [f"text {number} " + "filler " * (number % 50) * 2 for number in range(3000)]

    vectors = await RemoteEmbedder(handle).embed(texts, Lane.INGESTION)

    assert np.array_equal(vectors, await HashEmbedder(dimension=384).embed(texts))
    assert handle.calls.count("embed") > 1
    assert max(handle.message_bytes) < MESSAGE_LIMIT


async def test_token_vectors_of_many_long_passages_stay_under_the_limit() -> None:
    handle = FakeHandle(EmbeddingServer.func_or_class(HASHED))
    passages = [f"passage {number} " * 300 for number in range(50)]

    rows = await RemoteEmbedder(handle).token_vectors(passages)

    local = await HashEmbedder(dimension=384).token_vectors(passages)
    assert all(np.allclose(a, b, atol=1e-3) for a, b in zip(rows, local, strict=True))
    assert max(handle.message_bytes) < MESSAGE_LIMIT


async def test_an_error_of_our_own_arrives_with_its_own_message() -> None:
    handle = FakeHandle(FailingEmbedder(Overloaded("too many texts", retry_after_s=3)))

    with pytest.raises(Overloaded) as refused:
        await RemoteEmbedder(handle).embed(["text"])

    assert type(refused.value) is Overloaded
    assert (refused.value.message, refused.value.details) == (
        "too many texts",
        {"retry_after_s": 3},
    )


@pytest.mark.parametrize(
    ("failure", "error"),
    [(ActorDiedError(), EmbeddingUnavailable), (BackPressureError(9, 8), Overloaded)],
)
async def test_a_lost_or_full_replica_is_an_error_of_our_own(
    failure: Exception, error: type[RagserveError]
) -> None:
    embedder = RemoteEmbedder(FakeHandle(HashEmbedder(), failing_with=failure))
    with pytest.raises(error):
        await embedder.embed(["text"])


async def test_a_surprise_in_the_engine_shows_no_traceback() -> None:
    embedder = RemoteEmbedder(FakeHandle(FailingEmbedder(ZeroDivisionError("secret path"))))
    with pytest.raises(EmbeddingUnavailable) as failed:
        await embedder.embed(["text"])
    assert "secret" not in failed.value.message


@pytest.mark.parametrize("texts", [1, 5000])
async def test_a_caller_who_leaves_stops_the_remote_calls(texts: int) -> None:
    engine = EndlessEmbedder()
    handle = FakeHandle(engine)
    call = asyncio.create_task(RemoteEmbedder(handle).embed(["text " * 400] * texts))
    await asyncio.sleep(0.05)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.sleep(0.05)

    assert engine.stopped == handle.calls.count("embed") > 0


async def test_one_failed_part_stops_the_others() -> None:
    class HalfBroken(EndlessEmbedder):
        async def embed(self, texts: Sequence[str], lane: Lane = Lane.QUERY) -> Vectors:
            if "bad" in texts:
                raise EmbeddingUnavailable("broken")
            return await super().embed(texts, lane)

    engine = HalfBroken()
    texts = ["text " * 400] * 3000 + ["bad"]
    with pytest.raises(EmbeddingUnavailable, match="broken"):
        await RemoteEmbedder(FakeHandle(engine)).embed(texts)
    await asyncio.sleep(0.05)
    assert engine.stopped > 0


async def test_the_deployment_serves_its_engine_through_serves_own_handle() -> None:
    handle = serve.run(EmbeddingServer.bind(HASHED), _local_testing_mode=True)
    embedder = RemoteEmbedder(handle)

    assert (await embedder.model()).dimension == 384
    assert (await embedder.embed(["one", "two"], Lane.INGESTION)).shape == (2, 384)
    assert [len(rows) for rows in await embedder.token_vectors(["one", "one two"])] == [1, 2]
