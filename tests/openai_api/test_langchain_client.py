"""langchain-openai against the API, unchanged."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from served_room import EMBEDDING_MODEL, KEY, LANGUAGE_MODEL, QUESTION, need_client

RAG = "rag:handbook"


@pytest.fixture
def address(room) -> dict[str, Any]:
    need_client("langchain-openai", "langchain_openai")
    return {"base_url": f"{room.url}/v1", "api_key": KEY, "max_retries": 0}


@pytest.fixture
def chat(address):
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model=RAG, **address)


def test_it_gets_a_cited_answer_and_the_usage(chat):
    answer = chat.invoke(QUESTION)
    assert answer.content == "The tower of the lighthouse is 31 metres high [1]."
    assert answer.usage_metadata["output_tokens"] > 0
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.response_metadata["model_name"] == RAG


def test_its_stream_joins_to_the_answer(address):
    from langchain_openai import ChatOpenAI

    pieces = list(ChatOpenAI(model=RAG, stream_usage=True, **address).stream(QUESTION))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    assert whole.content == "The tower of the lighthouse is 31 metres high [1]."
    assert len(pieces) > 3
    assert whole.usage_metadata["total_tokens"] > 0


async def test_it_asks_without_waiting(address):
    from langchain_openai import ChatOpenAI

    # Its own client for all of a process is never closed.
    async with openai.DefaultAsyncHttpxClient() as http:
        chat = ChatOpenAI(model=RAG, http_async_client=http, **address)
        assert "31 metres" in (await chat.ainvoke(QUESTION)).content
        assert "31 metres" in "".join([piece.content async for piece in chat.astream(QUESTION)])


def test_a_conversation_with_a_system_message_works(chat):
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

    answer = chat.invoke(
        [
            SystemMessage("Be brief."),
            HumanMessage("Tell me about the lighthouse."),
            AIMessage("It has a tower."),
            HumanMessage("How high is it?"),
        ]
    )
    assert "31 metres" in answer.content


def test_a_chain_of_prompt_model_and_parser_works(chat):
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate

    prompt = ChatPromptTemplate.from_messages([("human", "How high is the tower of the {thing}?")])
    chain = prompt | chat | StrOutputParser()
    assert "31 metres" in chain.invoke({"thing": "lighthouse"})


def test_the_bare_model_takes_its_parameters(room, address):
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(
        model=LANGUAGE_MODEL, temperature=0.5, max_tokens=40, top_p=0.8, seed=3, **address
    )
    chat.invoke("Greet me", stop=["!"])
    request = room.generator.requests[-1]
    assert (request.temperature, request.top_p, request.seed) == (0.5, 0.8, 3)
    assert (request.max_tokens, request.stop) == (40, ("!",))


def test_its_embeddings_are_the_services_own(room, address):
    import asyncio

    from langchain_openai import OpenAIEmbeddings

    embeddings = OpenAIEmbeddings(
        model=EMBEDDING_MODEL, check_embedding_ctx_length=False, **address
    )
    texts = ["bread", "butter"]
    own = asyncio.run(room.embedder.embed(texts))
    assert embeddings.embed_documents(texts) == own.tolist()
    assert embeddings.embed_query("bread") == own[0].tolist()


def test_tools_are_refused_and_not_ignored(chat):
    with pytest.raises(openai.BadRequestError, match="tools are not supported"):
        chat.bind_tools([weather]).invoke(QUESTION)


def weather(place: str) -> str:
    """The weather at a place."""
    return place


def test_a_model_that_is_not_there_is_openais_own_error(address):
    from langchain_openai import ChatOpenAI

    with pytest.raises(openai.NotFoundError):
        ChatOpenAI(model="rag:nowhere", **address).invoke(QUESTION)
