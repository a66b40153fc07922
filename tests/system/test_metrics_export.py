"""Prometheus finds every named metric at the running system, on loopback alone."""

from __future__ import annotations

import asyncio
import re
import socket

import httpx
import psutil
import pytest
from ray.util import get_node_ip_address

from deployments.metrics import ALL, BREAKER_OPENED, BREAKER_STATE, RETRIES, Metric
from serve_app.schemas import TextDocument, TextDocuments
from tests.conftest import RunningSystem
from tests.system.struck_jobs import ended, fresh_collection

ONLY_AFTER_FAILURES = {RETRIES, BREAKER_OPENED}
EXPORTED_WITHIN_S = 40.0
QUESTION = {"collection": "measured", "question": "How many days of paid holiday are there?"}


def exported(metric: Metric, text: str) -> bool:
    """Whether the metric is there, with each of its labels."""
    suffix = "_bucket" if metric.kind == "histogram" else ""
    line = re.search(rf"^ray_{metric.name}{suffix}{{([^}}]*)}} ", text, re.MULTILINE)
    return line is not None and all(f'{label}="' in line.group(1) for label in metric.labels)


async def scrape(system: RunningSystem) -> str:
    async with httpx.AsyncClient() as http:
        url = f"http://127.0.0.1:{system.embedded.node.metrics_port}/metrics"
        return (await http.get(url, timeout=20)).text


async def traffic(system: RunningSystem) -> None:
    async with system.client() as client, system.http() as http:
        collection = await fresh_collection(client, "measured")
        sent = TextDocuments(
            documents=[TextDocument(title="Leave", text="There are 29 days of paid holiday.")]
        )
        job = await ended(client, (await client.add_texts(collection, sent)).id)
        assert job.state == "COMPLETED", job
        for _ in range(2):
            assert (await http.post("/v1/query", json=QUESTION)).status_code == 200
        assert (await http.get("/v1/jobs/nothing")).status_code == 404
        cache = system.embedded.stores["redis-cache"]
        assert cache.process is not None
        cache.process.kill()
        cache.process.wait()
        degraded = await http.post("/v1/query", json=QUESTION | {"question": "What is paid?"})
        assert "uncached" in degraded.json()["degraded"], degraded.text
        assert "redis-cache" in system.embedded.restart_dead()


async def test_every_named_metric_is_exported(system: RunningSystem) -> None:
    await traffic(system)
    missing = set(ALL) - ONLY_AFTER_FAILURES
    async with asyncio.timeout(EXPORTED_WITHIN_S):
        while missing:
            text = await scrape(system)
            missing = {metric for metric in missing if not exported(metric, text)}
            await asyncio.sleep(0.5 if missing else 0)
    for dependency in ("embedding", "generation", "milvus", "redis", "redis_cache"):
        assert re.search(
            rf'^ray_{BREAKER_STATE.name}{{[^}}]*dependency="{dependency}"[^}}]*}} 0',
            text,
            re.MULTILINE,
        ), dependency


async def test_metrics_listen_on_loopback_alone(system: RunningSystem) -> None:
    port = system.embedded.node.metrics_port
    outside = get_node_ip_address()
    if outside == "127.0.0.1":
        pytest.skip("this machine has no other address")
    with socket.socket() as stranger:
        stranger.settimeout(2)
        assert stranger.connect_ex((outside, port)) != 0
    addresses = {
        connection.laddr.ip
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    }
    assert addresses == {"127.0.0.1"}
