from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from query_room import CountingReranker, Room, ask, collect, document, eventually

from deployments.contracts.generation import Message
from deployments.contracts.jobs import Snapshot
from deployments.contracts.query import (
    DoneEvent,
    PassagesEvent,
    SearchOptions,
    TokenEvent,
)
from deployments.contracts.retrieval import Chunk, Collection, SearchMode
from deployments.errors import (
    CollectionNotFound,
    DeadlineExceeded,
    EmbeddingUnavailable,
    GenerationUnavailable,
    InvalidFilter,
    ModelMismatch,
    Overloaded,
    RagserveError,
    RerankUnavailable,
    StateUnavailable,
    StoreUnavailable,
)
from deployments.generation.memory import ScriptedGenerator
from deployments.query.deadline import Deadline


async def test_an_answer_is_streamed_cited_and_timed(room: Room) -> None:
    room.generator = ScriptedGenerator(
        answers=["Full-time employees have 29 days of paid holiday."]
    )
    events = await collect(room.pipeline().stream(ask()))
    assert isinstance(events[0], PassagesEvent)
    assert isinstance(events[-1], DoneEvent)
    answer = events[-1].answer
    assert "".join(e.text for e in events if isinstance(e, TokenEvent)) == answer.text
    assert answer.answered
    (citation,) = answer.citations
    quoted = answer.passages[citation.passage - 1].chunk.text
    assert "29 days of paid holiday" in quoted[citation.quote_start : citation.quote_end]
    assert answer.text[citation.start : citation.end] == answer.text
    assert citation.origin == "platform"
    assert answer.grounding[0].grounded
    assert answer.grounding_score > 0.5
    assert answer.usage.completion_tokens == 8
    assert answer.finish_reason == "stop"
    assert set(answer.timings_ms) == {
        "queue", "embed", "search", "select", "first_token", "generate", "ground", "total",
    }  # fmt: skip


async def test_an_invented_sentence_is_flagged(room: Room) -> None:
    room.generator = ScriptedGenerator(
        answers=["Full-time employees have 29 days of paid holiday. Elephants roam by moonlight."]
    )
    answer = await room.pipeline().answer(ask())
    assert [sentence.grounded for sentence in answer.grounding] == [True, False]
    assert all(citation.end <= answer.text.index("Elephants") for citation in answer.citations)


async def test_an_answer_that_nothing_supports_is_replaced_by_quotation_where_so_set(
    room: Room,
) -> None:
    room.generator = ScriptedGenerator(answers=["Bananas ripen on the moon."])
    room.settings = replace(room.settings, ungrounded="replace")
    answer = await room.pipeline().answer(ask())
    assert answer.degraded == ("ungrounded",)
    assert "29 days of paid holiday" in answer.text
    assert answer.citations
    assert answer.model


async def test_citations_by_the_model_are_kept_and_those_that_point_nowhere_dropped(
    room: Room,
) -> None:
    room.settings = replace(room.settings, evidence="passages")
    room.generator = ScriptedGenerator(
        answers=["Full-time employees have 29 days of paid holiday a year [1]. It expires [77]."]
    )
    answer = await room.pipeline().answer(ask())
    assert answer.text == "Full-time employees have 29 days of paid holiday a year [1]. It expires."
    assert answer.dropped_markers == 1
    assert answer.citations[0].origin == "model"
    assert answer.citations[0].passage == 1


async def test_a_question_about_something_else_is_refused_without_asking_the_model(
    room: Room,
) -> None:
    answer = await room.pipeline().answer(ask("Which planet has the most moons?"))
    assert not answer.answered
    assert answer.finish_reason == "not_found"
    assert answer.text == "I could not find this in the documents of collection handbook."
    assert room.generator.requests == []
    assert answer.citations == ()


async def test_an_empty_collection_answers_not_found(room: Room) -> None:
    model = (await room.store.get_collection("handbook")).model
    await room.store.create_collection(Collection("empty", model))
    answer = await room.pipeline().answer(ask(collection="empty"))
    assert not answer.answered
    assert answer.passages == ()


async def test_the_extract_mode_quotes_the_documents_and_asks_no_model(room: Room) -> None:
    answer = await room.pipeline().answer(ask(answer="extract"))
    assert "29 days of paid holiday" in answer.text
    assert answer.finish_reason == "extract"
    assert room.generator.requests == []
    for citation in answer.citations:
        quote = answer.passages[citation.passage - 1].chunk.text[
            citation.quote_start : citation.quote_end
        ]
        assert " ".join(quote.split()) == answer.text[citation.start : citation.end]


# The ladder


async def test_without_the_embedder_words_alone_find_the_answer(room: Room) -> None:
    room.embedder.error = EmbeddingUnavailable("out")
    room.generator = ScriptedGenerator(
        answers=["Full-time employees have 29 days of paid holiday."]
    )
    answer = await room.pipeline().answer(ask())
    assert answer.degraded == ("lexical_only",)
    assert answer.answered
    assert answer.grounding[0].grounded
    assert all(passage.dense_score is None for passage in answer.passages)


async def test_without_the_reranker_the_fused_order_is_served(room: Room) -> None:
    room.reranker = CountingReranker()
    room.reranker.error = RerankUnavailable("out")
    answer = await room.pipeline().answer(ask())
    assert answer.degraded == ("rerank_skipped",)
    assert answer.answered


async def test_a_reranker_that_takes_too_long_is_not_waited_for(room: Room) -> None:
    room.reranker = CountingReranker()
    room.reranker.delay_s = 30
    room.settings = replace(room.settings, rerank_timeout_s=0.02)
    result = await room.pipeline().search(ask())
    assert result.degraded == ("rerank_skipped",)
    assert result.passages


async def test_without_the_model_the_documents_speak_for_themselves(room: Room) -> None:
    room.generator.fail_with(GenerationUnavailable("out"))
    answer = await room.pipeline().answer(ask())
    assert answer.degraded == ("extractive",)
    assert "29 days of paid holiday" in answer.text
    assert answer.citations


async def test_a_model_that_fails_in_mid_answer_is_an_error_not_a_second_answer(room: Room) -> None:
    room.generator = ScriptedGenerator(answers=["Full-time employees have 29 days."])
    room.generator.fail_with(GenerationUnavailable("cut"), after_tokens=2)
    with pytest.raises(GenerationUnavailable):
        await room.pipeline().answer(ask())


async def test_without_fresh_state_the_answer_says_so(room: Room) -> None:
    room.visibility.now = Snapshot(1, frozenset(), stale=True)
    answer = await room.pipeline().answer(ask())
    assert answer.degraded == ("state_stale",)


async def test_without_the_store_there_is_no_answer(room: Room) -> None:
    room.store.error = StoreUnavailable("out")
    with pytest.raises(StoreUnavailable):
        await room.pipeline().answer(ask())


@pytest.mark.parametrize("rung", ["embedder", "reranker", "model", "state"])
async def test_a_caller_who_wants_no_lesser_answer_gets_the_error(room: Room, rung: str) -> None:
    expected: type[RagserveError]
    if rung == "embedder":
        room.embedder.error, expected = EmbeddingUnavailable("out"), EmbeddingUnavailable
    elif rung == "reranker":
        room.reranker, expected = CountingReranker(), RerankUnavailable
        room.reranker.error = RerankUnavailable("out")
    elif rung == "model":
        room.generator.fail_with(GenerationUnavailable("out"))
        expected = GenerationUnavailable
    else:
        room.visibility.now, expected = Snapshot(1, frozenset(), stale=True), StateUnavailable
    with pytest.raises(expected):
        await room.pipeline().answer(ask(on_degraded="fail"))


async def test_back_pressure_is_the_callers_to_see(room: Room) -> None:
    room.generator.fail_with(Overloaded("full", retry_after_s=1))
    with pytest.raises(Overloaded):
        await room.pipeline().answer(ask())


# Errors of the caller


async def test_an_unknown_collection_is_named(room: Room) -> None:
    with pytest.raises(CollectionNotFound):
        await room.pipeline().answer(ask(collection="nowhere"))


async def test_a_bad_filter_is_refused(room: Room) -> None:
    with pytest.raises(InvalidFilter):
        await room.pipeline().search(ask(options=SearchOptions(filter={"nonsense": 1})))


async def test_a_collection_of_another_model_is_refused(room: Room) -> None:
    model = replace((await room.store.get_collection("handbook")).model, name="other")
    await room.store.create_collection(Collection("foreign", model))
    with pytest.raises(ModelMismatch):
        await room.pipeline().search(ask(collection="foreign"))


# Search options


async def test_the_rerankers_order_is_the_order_served(room: Room) -> None:
    room.reranker = CountingReranker()
    result = await room.pipeline().search(ask())
    scores = [passage.rerank_score for passage in result.passages]
    assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]
    assert room.reranker.calls == 1
    assert "rerank" in result.timings_ms


async def test_a_rerankers_share_of_the_score_is_the_operators_choice(room: Room) -> None:
    unranked = await room.pipeline().search(ask(options=SearchOptions(top_k=3)))
    room.reranker = CountingReranker()
    room.settings = replace(room.settings, rerank_weight=0.0)
    ignored = await room.pipeline().search(ask(options=SearchOptions(top_k=3)))
    assert [p.chunk.id for p in ignored.passages] == [p.chunk.id for p in unranked.passages]
    room.settings = replace(room.settings, rerank_weight=0.5)
    mixed = await room.pipeline().search(ask(options=SearchOptions(top_k=3)))
    before = {p.chunk.id: p.score for p in ignored.passages}
    for passage in mixed.passages:
        assert passage.rerank_score is not None
        if passage.chunk.id in before:
            halves = (before[passage.chunk.id] + passage.rerank_score) / 2
            assert passage.score == pytest.approx(halves)
    scores = [passage.score for passage in mixed.passages]
    assert scores == sorted(scores, reverse=True)


async def test_a_stage_can_be_switched_off_per_request(room: Room) -> None:
    room.reranker = CountingReranker()
    result = await room.pipeline().search(ask(options=SearchOptions(rerank=False)))
    assert room.reranker.calls == 0
    assert "rerank" not in result.timings_ms


async def test_a_lexical_search_embeds_nothing(room: Room) -> None:
    result = await room.pipeline().search(ask(options=SearchOptions(mode=SearchMode.LEXICAL)))
    assert result.passages
    assert room.embedder.calls == []


async def test_no_more_passages_than_asked_for(room: Room) -> None:
    result = await room.pipeline().search(ask(options=SearchOptions(top_k=2)))
    assert len(result.passages) == 2


async def test_neighbours_widen_a_passage_without_repeating_the_overlap(room: Room) -> None:
    texts = [
        "Zebras sleep at night. They wake",
        "They wake at dawn. Quaggas too.",
        "Quaggas too. The end.",
    ]
    owner = document(90, "Zebras", 3)
    spans = [(0, 32), (23, 54), (42, 63)]
    chunks = [
        Chunk(f"z{i}", i, text, owner, start_char=a, end_char=b)
        for i, (text, (a, b)) in enumerate(zip(texts, spans, strict=True))
    ]
    await room.store.upsert("handbook", chunks, await room.embedder.embed(texts))
    options = SearchOptions(top_k=1, neighbours=1)
    (passage,) = (
        await room.pipeline().search(ask("When do they wake at dawn?", options=options))
    ).passages
    assert passage.chunk.text == "Zebras sleep at night. They wake at dawn. Quaggas too. The end."
    assert (passage.chunk.start_char, passage.chunk.end_char) == (0, 63)


async def test_copies_of_a_text_and_older_versions_are_served_once(room: Room) -> None:
    text = "Zebras sleep standing up."
    copies = [
        Chunk("a", 0, text, document(91, "One", 1)),
        Chunk("b", 0, text, document(92, "Two", 1)),
        Chunk("c", 0, "Zebras sleep lying down.", document(93, "Three", 1, version=4)),
        Chunk("d", 0, "Zebras sleep on one leg.", document(93, "Three", 1, version=5)),
    ]
    await room.store.upsert("handbook", copies, await room.embedder.embed([c.text for c in copies]))
    result = await room.pipeline().search(ask("How do zebras sleep?"))
    ids = [passage.chunk.id for passage in result.passages]
    assert len({"a", "b"} & set(ids)) == 1
    assert "d" in ids
    assert "c" not in ids


async def test_diversity_prefers_what_was_not_said_yet(room: Room) -> None:
    texts = [
        "Zebras eat grass.",
        "Zebras eat grass daily.",
        "Zebras eat grass today.",
        "Zebras flee from lions.",
    ]
    chunks = [Chunk(f"m{i}", i, t, document(94, "Z", 4)) for i, t in enumerate(texts)]
    await room.store.upsert("handbook", chunks, await room.embedder.embed(texts))
    plain = await room.pipeline().search(ask("zebras eat grass", options=SearchOptions(top_k=2)))
    varied = await room.pipeline().search(
        ask("zebras eat grass", options=SearchOptions(top_k=2, diversity=0.8))
    )
    assert plain.passages[0].chunk.text == varied.passages[0].chunk.text == "Zebras eat grass."
    assert plain.passages[1].chunk.text.startswith("Zebras eat grass")
    assert not varied.passages[1].chunk.text.startswith("Zebras eat grass")


async def test_hidden_versions_are_never_found(room: Room) -> None:
    room.visibility.now = Snapshot(2, frozenset({1}))
    assert (await room.pipeline().search(ask())).passages == ()


async def test_a_follow_up_is_searched_with_the_question_it_follows(room: Room) -> None:
    history = (
        Message("user", "How is the billing service rolled back?"),
        Message("assistant", "With `shipctl rollback billing`."),
    )
    result = await room.pipeline().search(ask("And how long does it take?", history=history))
    assert "shipctl" in result.passages[0].chunk.text


# Deadlines and callers who leave


@pytest.mark.parametrize("stage", ["embed", "search", "generate"])
async def test_a_deadline_names_the_stage_that_ran_out_of_time(room: Room, stage: str) -> None:
    if stage == "embed":
        room.embedder.delay_s = 30
    elif stage == "search":
        room.store.delay_s = 30
    else:
        room.generator = SlowGenerator()
    with pytest.raises(DeadlineExceeded) as caught:
        await room.pipeline().answer(ask(), Deadline.after(0.1))
    assert caught.value.details["stage"] == stage


async def test_a_deadline_that_passed_in_the_queue_starts_nothing(room: Room) -> None:
    with pytest.raises(DeadlineExceeded):
        await room.pipeline().answer(ask(), Deadline.after(0.0))
    assert room.embedder.calls == []


class SlowGenerator(ScriptedGenerator):
    """Speaks one word and then thinks forever; notices when it is closed."""

    def __init__(self) -> None:
        super().__init__(answers=["Hm"])
        self.open = 0
        self.started = 0

    async def stream(self, request):  # type: ignore[no-untyped-def, override]
        self.open += 1
        self.started += 1
        try:
            async for token in super().stream(request):
                yield token
                await asyncio.sleep(30)
        finally:
            self.open -= 1


@pytest.mark.parametrize("cache", [True, False])
async def test_a_caller_who_leaves_stops_the_model(room: Room, cache: bool) -> None:
    room.generator = slow = SlowGenerator()
    events = room.pipeline().stream(ask(cache=cache))
    async for event in events:
        if isinstance(event, TokenEvent):
            break
    assert slow.open == 1
    await events.aclose()
    assert slow.open == 0


async def test_a_cancelled_request_stops_the_model(room: Room) -> None:
    room.generator = slow = SlowGenerator()
    task = asyncio.create_task(room.pipeline().answer(ask()))
    await eventually(lambda: slow.open == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.open == 0


# One generation for many


async def test_a_hundred_identical_questions_make_one_generation(room: Room) -> None:
    pipeline = room.pipeline()
    answers = await asyncio.gather(*(pipeline.answer(ask()) for _ in range(100)))
    assert len(room.generator.requests) == 1
    assert len({answer.text for answer in answers}) == 1


async def test_the_generation_goes_on_until_the_last_listener_leaves(room: Room) -> None:
    room.generator = slow = SlowGenerator()
    pipeline = room.pipeline()
    tasks = [asyncio.create_task(pipeline.answer(ask())) for _ in range(3)]
    await eventually(lambda: slow.open == 1)
    for task in tasks[:2]:
        task.cancel()
    await asyncio.wait(tasks[:2])
    assert slow.open == 1
    tasks[2].cancel()
    await asyncio.wait(tasks)
    assert slow.open == 0
    assert slow.started == 1


async def test_an_error_reaches_everyone_who_shared_the_generation(room: Room) -> None:
    room.store.error, room.store.delay_s = StoreUnavailable("out"), 0.02
    pipeline = room.pipeline()
    results = await asyncio.gather(
        *(pipeline.answer(ask()) for _ in range(5)), return_exceptions=True
    )
    assert [type(result) for result in results] == [StoreUnavailable] * 5


async def test_anothers_short_deadline_is_not_mine(room: Room) -> None:
    room.store.delay_s = 0.2
    pipeline = room.pipeline()
    hasty = asyncio.create_task(pipeline.answer(ask(), Deadline.after(0.1)))
    await asyncio.sleep(0.02)
    patient = await pipeline.answer(ask(), Deadline.after(20))
    assert patient.answered
    with pytest.raises(DeadlineExceeded):
        await hasty


async def test_callers_of_two_scopes_share_nothing(room: Room) -> None:
    pipeline = room.pipeline()
    await asyncio.gather(pipeline.answer(ask(scope="a")), pipeline.answer(ask(scope="b")))
    assert len(room.generator.requests) == 2
