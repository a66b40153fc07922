"""A worker that joined the Ray cluster and embeds through the deployment.

Start order: `{address}`; the environment holds the cluster's certificates and token. Order:
`{texts, call_texts, in_flight, lane}`: calls of so many texts, so many under way.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import ray
from ray import serve

from benchmarks.workers import Work, obey
from deployments.contracts.embedding import Lane
from deployments.embedding.deployment import RemoteEmbedder


async def prepare(start: dict[str, Any]) -> Work:
    """Joined."""
    ray.init(address=start["address"], namespace="serve", log_to_driver=False)
    embedder = RemoteEmbedder(serve.get_deployment_handle("Embedding", app_name="rag"))

    async def work(order: dict[str, Any]) -> dict[str, Any]:
        texts, size = order["texts"], order["call_texts"]
        calls = iter([texts[at : at + size] for at in range(0, len(texts), size)])
        lane = Lane(order["lane"])

        async def in_turn() -> None:
            for call in calls:
                await embedder.embed(call, lane)

        begun, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(in_turn() for _ in range(order["in_flight"])))
        return {"seconds": time.perf_counter() - begun, "cpu_s": time.process_time() - cpu}

    return work


if __name__ == "__main__":
    obey(prepare)
