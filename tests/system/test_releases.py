"""Releases of the production layout on a real cluster: no request is dropped, a bad one returns."""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.cli.up import _await_ready
from serve_app.client import AsyncRagserve, RetryPolicy, Upload
from serve_app.client.query_events import Finished
from serve_app.embedded.home import Home
from serve_app.embedded.processes import free_port
from serve_app.embedded.system import Wishes, running_system
from serve_app.releases.dashboard import DashboardServe
from serve_app.releases.rollout import RolledBack, Rollout
from serve_app.releases.scaling import scaled
from serve_app.releases.smoke import SmokeQuery
from serve_app.releases.state import ServeConfig
from serve_app.schemas import QueryIn
from tests.conftest import GENEROUS, RunningSystem
from tests.system.documents import write_markdown

pytestmark = pytest.mark.soak

PRODUCTION = Path(__file__).parents[2] / "ray_config" / "serve.production.cpu.yaml"
COLLECTION = "released"
QUESTION = "How large is the mirror of the Quillfeather telescope?"
ONCE = RetryPolicy(attempts=1)
CALLERS = 12


def small(config: ServeConfig) -> ServeConfig:
    """The production layout on two cores: fixed numbers of replicas, a model that only paces."""
    applications = {app["name"]: app for app in config["applications"]}
    for app in applications.values():
        for part in app["deployments"]:
            part.pop("autoscaling_config", None)
            part["num_replicas"] = 2 if part["name"] == "Ingress" else 1
            part["ray_actor_options"] = {"num_cpus": 0.1}
    applications["generation"]["args"] = {"engine": "paced"}
    applications["rag"]["args"] |= {
        "generation": {"engine": "paced"},
        "query": {"evidence": "passages", "ungrounded": "flag"},
        "limits": GENEROUS,
    }
    applications["ingestion"]["args"] |= {"task_resources": {}, "task_cpus": 0.5}
    return config


def released(config: ServeConfig, **args: Any) -> ServeConfig:
    """The same with other arguments of the query path."""
    changed = copy.deepcopy(config)
    rag = next(app for app in changed["applications"] if app["name"] == "rag")
    rag["args"] |= args
    return changed


@dataclass(slots=True)
class Site:
    """A system, the configuration it was started with, and the API that releases go by."""

    system: RunningSystem
    config: ServeConfig
    serve: DashboardServe

    def client(self) -> AsyncRagserve:
        return AsyncRagserve(self.system.url, self.system.api_key, timeout_s=60, retry=ONCE)

    def rollout(self) -> Rollout:
        smoke = SmokeQuery(self.system.url, self.system.api_key, COLLECTION, QUESTION)
        return Rollout(self.serve, print, smoke, timeout_s=120)

    def pids(self) -> dict[str, frozenset[int]]:
        return {
            deployment: frozenset(part.replicas.values())
            for app in self.serve.applications().values()
            for deployment, part in app.deployments.items()
        }


@dataclass(slots=True)
class Load:
    """Callers who stream answers one after the other, and how that went."""

    done: int = 0
    failures: list[str] = field(default_factory=list)
    stop: bool = False

    async def call(self, client: AsyncRagserve) -> None:
        query = QueryIn(collection=COLLECTION, question=QUESTION, stream=True, cache=False)
        while not self.stop:
            last = None
            try:
                async for event in client.stream_query(query):
                    last = event
                assert isinstance(last, Finished), last
                assert last.result.usage.completion_tokens > 0
            except Exception as failure:  # noqa: BLE001 - all are counted
                self.failures.append(repr(failure))
            self.done += 1


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    config = small(yaml.safe_load(PRODUCTION.read_text()))
    (folder / "serve.yaml").write_text(yaml.safe_dump(config))
    models = Path(os.environ.get("RAGSERVE_TEST_MODELS", ".ragserve/models")).resolve()
    dashboard = free_port()
    wishes = Wishes(folder / "serve.yaml", port=free_port(), cpus=8, dashboard_port=dashboard)
    config["http_options"] |= {"host": wishes.host, "port": wishes.port}
    home = Home(folder / "home")
    with running_system(home, wishes, {"MODEL_CACHE": str(models)}, print) as embedded:
        unkeyed = RunningSystem(f"http://127.0.0.1:{wishes.port}", "", embedded)
        key = asyncio.run(unkeyed.make_key(["query", "ingest"], ["*"]))
        system = RunningSystem(unkeyed.url, key, embedded)
        _await_ready(system.url)
        serve = DashboardServe(
            f"http://127.0.0.1:{dashboard}", embedded.node.environment["RAY_AUTH_TOKEN"]
        )
        yield Site(system, config, serve)
        serve.close()


@pytest.fixture(scope="module")
async def asked(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The site with a document in it."""
    path = write_markdown(tmp_path_factory.mktemp("documents") / "observatory.md")
    async with site.client() as client:
        await client.create_collection(COLLECTION)
        job = await client.upload(COLLECTION, [Upload(path, path.name)])
        assert (await client.wait(job.id, timeout_s=120)).state == "COMPLETED"
    return site


@asynccontextmanager
async def load(site: Site, at_least: int) -> AsyncIterator[Load]:
    """Callers throughout the block, and on until so many requests have ended."""
    under_way = Load()
    async with asyncio.TaskGroup() as group, site.client() as client:
        callers = [group.create_task(under_way.call(client)) for _ in range(CALLERS)]
        try:
            while under_way.done < CALLERS:  # noqa: ASYNC110 - many count
                await asyncio.sleep(0.1)
            yield under_way
            while under_way.done < at_least:  # noqa: ASYNC110 - many count
                await asyncio.sleep(0.1)
        finally:
            under_way.stop = True
            await asyncio.wait(callers)


@pytest.mark.parametrize("requests", [100, 2000])
@pytest.mark.timeout(600)
async def test_a_release_under_load_drops_nothing_and_leaves_the_models_alone(
    asked: Site, requests: int
) -> None:
    before = asked.pids()
    async with load(asked, requests) as under_way:
        new = released(asked.config, uploads={"max_files": requests})
        await asyncio.to_thread(asked.rollout().release, new)
        during = asked.pids()
        await asyncio.to_thread(asked.rollout().release, asked.config)
    after = asked.pids()
    assert under_way.failures == []
    assert under_way.done >= requests
    assert not before["Ingress"] & during["Ingress"]
    assert not during["Ingress"] & after["Ingress"]
    for untouched in ("Embedding", "Generation", "Supervisor"):
        assert before[untouched] == during[untouched] == after[untouched]


async def test_a_version_that_does_not_start_is_taken_back_and_nobody_notices(asked: Site) -> None:
    # An engine that needs an address, which this node does not have.
    bad = released(asked.config, reranking={"engine": "http"})
    async with load(asked, 0) as under_way:
        with pytest.raises(RolledBack, match="RERANK_URL"):
            await asyncio.to_thread(asked.rollout().release, bad)
    assert under_way.failures == []
    states = asked.serve.applications()
    assert {app.status for app in states.values()} == {"RUNNING"}
    assert states["rag"].config
    assert "reranking" not in states["rag"].config["args"]


async def test_a_version_that_starts_and_cannot_answer_is_taken_back(asked: Site) -> None:
    # Nobody answers a question in a millisecond.
    hasty = released(asked.config, query={"evidence": "passages", "deadline_s": 0.001})
    with pytest.raises(RolledBack, match="smoke query"):
        await asyncio.to_thread(asked.rollout().release, hasty)
    async with asked.client() as client:
        answer = await client.query(QueryIn(collection=COLLECTION, question=QUESTION, cache=False))
    assert answer.usage.completion_tokens > 0


async def test_replicas_are_added_and_taken_away_without_a_restart(asked: Site) -> None:
    before = asked.pids()["Embedding"]
    for wanted in (2, 1):
        config = scaled(asked.serve.applications(), "Embedding", wanted)
        asked.serve.apply(config)
        await asyncio.to_thread(asked.rollout().settled, config)
        now = asked.pids()["Embedding"]
        assert len(now) == wanted
        assert len(now & before) >= 1 or wanted == 1
