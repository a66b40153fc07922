"""The embedders of the contract suite, and the model they share."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from any_embedder import AnyEmbedder
from fake_handles import FakeHandle

from deployments.contracts.engines import EngineSpec
from deployments.embedding.deployment import EmbeddingServer, RemoteEmbedder
from deployments.embedding.memory import HashEmbedder
from deployments.embedding.minilm import ensure_minilm
from deployments.embedding.onnx import OnnxEmbedder


@pytest.fixture(scope="session")
def cache_dir() -> Path:
    """Kept between runs: making a model takes seconds, every time the same."""
    return Path(os.environ.get("RAGSERVE_TEST_MODELS", ".ragserve/models")).resolve()


@pytest.fixture(scope="session")
async def onnx_fp32(cache_dir: Path) -> AsyncIterator[OnnxEmbedder]:
    embedder = OnnxEmbedder(cache_dir=str(cache_dir), precision="fp32")
    yield embedder
    await embedder.aclose()


@pytest.fixture(scope="session")
async def onnx_int8(cache_dir: Path) -> AsyncIterator[OnnxEmbedder]:
    embedder = OnnxEmbedder(cache_dir=str(cache_dir), precision="int8")
    yield embedder
    await embedder.aclose()


@pytest.fixture(scope="session")
async def onnx_model_dir(cache_dir: Path) -> AsyncIterator[OnnxEmbedder]:
    """The same files as an operator would name them."""
    embedder = OnnxEmbedder(
        model_dir=str(ensure_minilm(cache_dir, "fp32")), name="an-operators-own", max_tokens=64
    )
    yield embedder
    await embedder.aclose()


@pytest.fixture(scope="session")
def hashed() -> HashEmbedder:
    return HashEmbedder()


@pytest.fixture(scope="session")
def remote() -> RemoteEmbedder:
    server = EmbeddingServer.func_or_class(
        EngineSpec("deployments.embedding.memory:HashEmbedder", {})
    )
    return RemoteEmbedder(FakeHandle(server))


@pytest.fixture(
    scope="session", params=["hashed", "onnx_fp32", "onnx_int8", "onnx_model_dir", "remote"]
)
def embedder(request: pytest.FixtureRequest) -> AnyEmbedder:
    made: AnyEmbedder = request.getfixturevalue(request.param)
    return made
