"""Whatever a caller sends, by the OpenAPI document or against it, nothing breaks here (no 5xx)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from api.desk import GENEROUS, PEER_SECRET, Desk
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode
from starlette.testclient import TestClient

from serve_app import description
from serve_app.settings import RagArgs

SEED = 20260728
HEADERS = {"Authorization": "Bearer root", "X-Internal-Auth": PEER_SECRET}


def schema_of(desk: Desk) -> Any:
    return schemathesis.openapi.from_dict(description.of(desk.app))


def operations(desk: Desk) -> list[Any]:
    return [result.ok() for result in schema_of(desk).get_all_operations()]


def attack(folder: Path, examples: int, every: int = 1) -> int:
    """Send what schemathesis makes of operations, valid and invalid; how many were sent."""
    desk = Desk(folder, RagArgs(limits=GENEROUS))
    asyncio.run(desk.furnish())
    sent = 0
    with TestClient(desk.app, raise_server_exceptions=True) as client:
        for operation in operations(desk)[::every]:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

                @seed(SEED)
                @settings(
                    max_examples=examples,
                    deadline=None,
                    database=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                )
                @given(case=operation.as_strategy(generation_mode=mode))
                def send(case: Any) -> None:
                    nonlocal sent
                    sent += 1
                    if sent % 2 and case.method != "DELETE":
                        _aim(case)
                    answer = _sent(client, case)
                    where = f"{case.method} {case.formatted_path}"
                    assert answer.status_code < 500, f"{where}: {answer.text}"

                with suppress(Unsatisfiable):  # nothing can be wrong where nothing is asked for
                    send()
    return sent


def _aim(case: Any) -> None:
    """At the collection that is there: a name made up at random leads to a 404 and no further."""
    if "collection" in (case.path_parameters or {}):
        case.path_parameters["collection"] = "handbook"
    if isinstance(case.body, dict) and "collection" in case.body:
        case.body["collection"] = "handbook"
    if isinstance(case.body, dict) and "model" in case.body:
        case.body["model"] = "rag:handbook"


def _sent(client: TestClient, case: Any) -> httpx.Response:
    arguments = case.as_transport_kwargs(base_url="http://testserver")
    arguments["headers"] = {**arguments.get("headers", {}), **HEADERS}
    arguments.pop("cookies", None)
    if isinstance(arguments.get("data"), str | bytes):
        arguments["content"] = arguments.pop("data")
    return client.request(**arguments)


def test_a_sample_of_fuzzed_requests_breaks_nothing(tmp_path: Path) -> None:
    assert attack(tmp_path, examples=2, every=4) > 20


@pytest.mark.soak
def test_many_fuzzed_requests_break_nothing(tmp_path: Path) -> None:
    assert attack(tmp_path, examples=200) > 5000
