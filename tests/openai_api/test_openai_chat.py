"""Chat completions by the official client."""

from __future__ import annotations

import asyncio
import json
import time

import httpx
import openai
import pytest
from served_room import KEY, LANGUAGE_MODEL, QUESTION, Room, eventually

from deployments.errors import GenerationUnavailable
from deployments.generation.memory import ScriptedGenerator
from deployments.query.settings import QuerySettings

RAG = "rag:handbook"
TOKEN_S = 0.01
SLOTS = 1024  # of the scripted generator
ASKED = [{"role": "user", "content": QUESTION}]


def chat(client, **more):
    return client.chat.completions.create(**({"model": RAG, "messages": ASKED} | more))


def streamed(client, **more):
    with chat(client, stream=True, **more) as chunks:
        return list(chunks)


def text_of(chunks):
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


# From the documents


def test_a_rag_model_answers_from_the_documents_and_cites_them(client):
    reply = chat(client)
    choice = reply.choices[0]
    assert choice.message.role == "assistant"
    assert choice.message.content == "The tower of the lighthouse is 31 metres high [1]."
    assert choice.finish_reason == "stop"
    assert reply.model == RAG
    assert reply.id.startswith("chatcmpl-")
    assert reply.usage.completion_tokens > 0
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    evidence = choice.message.ragserve
    cited = evidence["passages"][evidence["citations"][0]["passage"] - 1]
    assert cited["title"] == "Lighthouse"
    assert evidence["grounding"][0]["grounded"]
    assert evidence["model"] == LANGUAGE_MODEL


def test_a_streamed_answer_is_the_same_and_its_last_chunk_has_the_evidence(client):
    whole = chat(client).choices[0].message
    chunks = streamed(client, extra_body={"ragserve": {"cache": False}})
    assert chunks[0].choices[0].delta.role == "assistant"
    assert text_of(chunks) == whole.content
    assert [c.choices[0].finish_reason for c in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].ragserve["citations"] == whole.ragserve["citations"]
    assert len({chunk.id for chunk in chunks}) == 1


@pytest.mark.parametrize("wanted", [True, False])
def test_a_stream_ends_with_the_usage_where_it_is_wanted(client, wanted):
    chunks = streamed(client, stream_options={"include_usage": wanted})
    counted = [chunk.usage for chunk in chunks if chunk.usage]
    assert len(counted) == int(wanted)
    if wanted:
        assert chunks[-1].choices == []
        assert counted[0].total_tokens == counted[0].prompt_tokens + counted[0].completion_tokens


def test_a_stream_on_the_wire_is_events_and_then_done(room):
    body = {"model": RAG, "messages": ASKED, "stream": True}
    headers = {"Authorization": f"Bearer {KEY}"}
    response = httpx.post(f"{room.url}/v1/chat/completions", json=body, headers=headers)
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in response.text.split("\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line[6:]) for line in lines[:-1]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}


def test_a_passage_that_the_model_did_not_name_is_named_at_the_end(room, client):
    room.generator._answers = ("The tower of the lighthouse is 31 metres high.",)
    message = chat(client).choices[0].message
    assert message.content == "The tower of the lighthouse is 31 metres high. [1]"
    assert message.ragserve["answer"] == "The tower of the lighthouse is 31 metres high."
    assert text_of(streamed(client, extra_body={"ragserve": {"cache": False}})) == message.content


def test_earlier_turns_make_a_question_that_leans_on_them_understood(room, client):
    messages = [
        {"role": "system", "content": "You are a pirate."},
        {"role": "user", "content": "Tell me about the lighthouse."},
        {"role": "assistant", "content": "It has a tower. [2] [3]"},
        {"role": "user", "content": [{"type": "text", "text": "How high is it?"}]},
    ]
    evidence = chat(client, messages=messages).choices[0].message.ragserve
    assert evidence["passages"][0]["title"] == "Lighthouse"
    prompt = room.generator.requests[-1].messages
    assert [m.content for m in prompt if m.role == "assistant"] == ["It has a tower."]
    assert "pirate" not in " ".join(m.content for m in prompt)


def test_the_platforms_own_options_travel_in_a_field_of_their_own(room, client):
    options = {"answer": "extract", "top_k": 1, "filter": {"field": "source", "eq": "Bakery.md"}}
    messages = [{"role": "user", "content": "How many kinds of bread does the bakery sell?"}]
    message = chat(client, messages=messages, extra_body={"ragserve": options}).choices[0].message
    assert message.content == "The village bakery sells seventeen kinds of bread. [1]"
    assert [p["title"] for p in message.ragserve["passages"]] == ["Bakery"]
    assert room.generator.requests == []


def test_an_option_that_does_not_exist_is_refused_by_name(client):
    with pytest.raises(openai.BadRequestError) as refused:
        chat(client, extra_body={"ragserve": {"topk": 3}})
    assert refused.value.param == "ragserve.topk"


def test_what_is_not_in_the_documents_is_said_to_be_missing(client):
    messages = [{"role": "user", "content": "What is the boiling point of mercury?"}]
    reply = chat(client, messages=messages)
    assert reply.choices[0].finish_reason == "stop"
    assert not reply.choices[0].message.ragserve["answered"]
    assert "[" not in reply.choices[0].message.content
    assert reply.usage.completion_tokens == 0


def test_the_documents_answer_for_themselves_while_the_model_is_out(room, client):
    room.generator.fail_with(GenerationUnavailable("out"))
    message = chat(client).choices[0].message
    assert "31 metres" in message.content
    assert message.ragserve["degraded"] == ["extractive"]


def test_a_replaced_answer_is_corrected_in_the_stream(server, client, tmp_path):
    said = ["Penguins are black and white."]
    generator = ScriptedGenerator(name=LANGUAGE_MODEL, answers=said)
    settings = QuerySettings(evidence="passages", ungrounded="replace")
    Room(server, tmp_path, generator, settings)
    chunks = streamed(client)
    assert "ungrounded" in chunks[-1].ragserve["degraded"]
    assert text_of(chunks).startswith(f"{said[0]}\n\n{chunks[-1].ragserve['answer']}")
    assert "31 metres" in chunks[-1].ragserve["answer"]


# From the language model


def test_the_bare_model_speaks_for_itself(room, client):
    room.generator._answers = ()
    messages = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": "Say good morning"},
    ]
    chunks = streamed(
        client, model=LANGUAGE_MODEL, messages=messages, stream_options={"include_usage": True}
    )
    assert text_of(chunks) == "Say good morning"
    assert len([c for c in chunks if c.choices and c.choices[0].delta.content]) == 3
    assert chunks[-1].usage.completion_tokens == 3
    assert not hasattr(chunks[-2], "ragserve")
    whole = chat(client, model=LANGUAGE_MODEL, messages=messages)
    assert whole.choices[0].message.content == "Say good morning"
    assert not hasattr(whole.choices[0].message, "ragserve")
    assert [m.role for m in room.generator.requests[-1].messages] == ["system", "user"]


def test_the_sampling_reaches_the_bare_model(room, client):
    chat(
        client,
        model=LANGUAGE_MODEL,
        temperature=0.7,
        top_p=0.9,
        seed=11,
        stop=["metres"],
        max_completion_tokens=50,
    )
    request = room.generator.requests[-1]
    assert (request.temperature, request.top_p, request.seed) == (0.7, 0.9, 11)
    assert request.stop == ("metres",)
    assert request.max_tokens == 50


def test_an_answer_cut_at_its_limit_says_so(client):
    for model in (LANGUAGE_MODEL, RAG):
        assert chat(client, model=model, max_tokens=2).choices[0].finish_reason == "length"


def test_more_tokens_than_the_model_has_are_asked_for_and_the_prompt_keeps_its_room(room, client):
    assert "31 metres" in chat(client, max_tokens=1_000_000).choices[0].message.content
    assert room.generator.requests[-1].max_tokens == 2048


# What clients send


def test_fields_that_change_nothing_here_are_ignored(client):
    reply = chat(
        client,
        user="somebody",
        store=False,
        metadata={"a": "b"},
        presence_penalty=0.5,
        frequency_penalty=0,
        n=1,
        tools=[],
        logprobs=False,
        response_format={"type": "text"},
        modalities=["text"],
        extra_body={"chat_id": "x", "mirostat": 1},
    )
    assert "31 metres" in reply.choices[0].message.content


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("n", 2),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("logprobs", True),
        ("response_format", {"type": "json_object"}),
        ("modalities", ["text", "audio"]),
        ("temperature", 3),
        ("max_tokens", 0),
    ],
)
def test_a_field_that_cannot_be_honoured_is_refused_by_name(client, param, value):
    with pytest.raises(openai.BadRequestError) as refused:
        chat(client, **{param: value})
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"
    assert refused.value.code == "invalid_request"


def test_a_picture_is_refused(client):
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    with pytest.raises(openai.BadRequestError, match=r"messages\.0\.content"):
        chat(client, messages=[{"role": "user", "content": [picture]}])


def test_a_conversation_without_a_question_is_refused(client):
    with pytest.raises(openai.BadRequestError, match="user's question"):
        chat(client, messages=[*ASKED, {"role": "assistant", "content": "31 metres"}])


# Those who leave


def talkative(generator):
    generator._answers = (" ".join(["word"] * 2000),)
    generator._token_s = TOKEN_S


@pytest.mark.parametrize("model", [LANGUAGE_MODEL, RAG])
def test_leaving_a_stream_stops_the_model(room, client, model):
    talkative(room.generator)
    with chat(client, model=model, stream=True, max_tokens=2000) as chunks:
        heard = 0
        for chunk in chunks:
            heard += bool(chunk.choices[0].delta.content)
            if heard == 3:
                break
    assert_it_stopped(room)


@pytest.mark.parametrize("model", [LANGUAGE_MODEL, RAG])
async def test_leaving_before_a_whole_reply_stops_the_model(room, model):
    talkative(room.generator)
    address = {"base_url": f"{room.url}/v1", "api_key": KEY, "max_retries": 0}
    async with openai.AsyncOpenAI(**address) as client:
        asking = asyncio.create_task(chat(client, model=model, max_tokens=2000))
        await asyncio.to_thread(eventually, lambda: room.generator._computed > 3)
        asking.cancel()
        await asyncio.wait([asking])
    await asyncio.to_thread(assert_it_stopped, room)


def assert_it_stopped(room):
    """The engine's own count of tokens stands still, far from the end of the answer."""
    eventually(lambda: room.generator._slots._free._value == SLOTS)
    counted = room.generator._computed
    time.sleep(5 * TOKEN_S)
    assert room.generator._computed == counted
    assert 0 < counted < 200
