"""What every engine owes its caller, asked of each of them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from generation_cases import MAX_QUEUED, PARALLEL, Case

from deployments.contracts.generation import GenerationRequest, Message, Token
from deployments.errors import ContextLengthExceeded, DeadlineExceeded, Overloaded


def ask(content: str = "Tell a long story.", **sampling: object) -> GenerationRequest:
    return GenerationRequest((Message("user", content),), **{"max_tokens": 300, **sampling})


async def all_of(case: Case, request: GenerationRequest) -> list[Token]:
    async with aclosing(case.generator.stream(request)) as stream:
        return [token async for token in stream]


async def assert_stopped(case: Case, computed_when_left: int) -> None:
    """No more than the overrun is computed, however long one waits."""
    await asyncio.sleep(0.3)
    assert await case.computed() - computed_when_left <= case.overrun_tokens


async def test_an_answer_comes_in_pieces_and_the_usage_last(case: Case) -> None:
    tokens = await all_of(case, ask(max_tokens=8))
    *pieces, last = tokens
    assert all(piece.usage is None and piece.finish_reason is None for piece in pieces)
    assert len(pieces) == 8
    assert "".join(token.text for token in tokens).strip()
    assert last.usage is not None
    assert last.usage.prompt_tokens >= 4
    assert last.usage.completion_tokens == 8


async def test_an_answer_cut_at_max_tokens_says_length(case: Case) -> None:
    assert (await all_of(case, ask(max_tokens=3)))[-1].finish_reason == "length"


async def test_the_model_names_itself_and_its_context(case: Case) -> None:
    model = await case.generator.model()
    assert model.name
    assert model.context_tokens >= 512


async def test_tokens_are_counted_for_each_text(case: Case) -> None:
    counts = await case.generator.count_tokens(["one", "", "one two three four five"])
    assert counts[0] >= 1
    assert counts[1] == 0
    assert counts[2] >= 5
    assert await case.generator.count_tokens([]) == []


async def test_a_prompt_longer_than_the_context_is_refused(case: Case) -> None:
    if case.limited is None:
        return  # the stand-in takes no notice of prompts
    async with aclosing(case.limited.stream(ask("word " * 2000))) as stream:
        with pytest.raises(ContextLengthExceeded, match=r"prompt"):
            await anext(stream)


async def test_closing_the_stream_stops_the_engine(case: Case) -> None:
    before = await case.computed()
    async with aclosing(case.generator.stream(ask())) as stream:
        for _ in range(4):
            await anext(stream)
    when_left = await case.computed()
    assert when_left - before < 100
    await assert_stopped(case, when_left)


async def test_cancelling_the_task_stops_the_engine(case: Case) -> None:
    streaming = asyncio.Event()

    async def read() -> None:
        async with aclosing(case.generator.stream(ask())) as stream:
            async for _ in stream:
                streaming.set()

    task = asyncio.create_task(read())
    await streaming.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await assert_stopped(case, await case.computed())


async def test_callers_who_left_do_not_keep_their_slots(case: Case) -> None:
    for _ in range(2 * PARALLEL + 1):
        async with aclosing(case.generator.stream(ask())) as stream:
            await anext(stream)
    assert (await all_of(case, ask(max_tokens=2)))[-1].usage is not None


async def test_a_caller_beyond_the_queue_is_refused_with_a_time_to_return(case: Case) -> None:
    async with asyncio.timeout(60):
        streams = [case.generator.stream(ask(max_tokens=4)) for _ in range(PARALLEL)]
        for stream in streams:
            await anext(stream)
        queued = [asyncio.create_task(all_of(case, ask(max_tokens=2))) for _ in range(MAX_QUEUED)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as refusal:
            await all_of(case, ask(max_tokens=2))
        assert refusal.value.details["retry_after_s"] > 0
        for stream in streams:
            await stream.aclose()
        assert all(answer[-1].usage for answer in await asyncio.gather(*queued))


async def test_an_answer_slower_than_its_deadline_is_given_up(case: Case) -> None:
    with pytest.raises(DeadlineExceeded):
        await all_of(case, ask("Count to a thousand.", timeout_s=0.02))
    await assert_stopped(case, await case.computed())
