"""LlamaIndex's OpenAI-like client against the API, unchanged."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from llama_index_client import llama_index_folder
from served_room import EMBEDDING_MODEL, KEY, LANGUAGE_MODEL, QUESTION, run_python

ANSWER = "The tower of the lighthouse is 31 metres high [1]."
SESSION = Path(__file__).with_name("llama_index_session.py")


@pytest.fixture
def session(room):
    program = SESSION.read_text()
    arguments = [f"{room.url}/v1", KEY, LANGUAGE_MODEL, EMBEDDING_MODEL, QUESTION]
    return json.loads(run_python(program, *arguments, path=llama_index_folder()))


def test_all_that_it_asks_is_answered(session, room):
    assert int(session["version"].split(".")[0]) < 3
    assert session["answer"] == ANSWER
    assert session["title"] == "Lighthouse"
    assert session["usage"] > 0
    assert session["completed"] == ANSWER
    assert session["streamed"] == ANSWER
    assert session["asynchronous"] == ANSWER
    assert session["refusal"] == "model_not_found"
    own = asyncio.run(room.embedder.embed(["bread", "butter", "jam"]))
    assert session["vectors"] == own.tolist()
    bare = next(r for r in room.generator.requests if r.messages[-1].content == "Greet me")
    assert (bare.temperature, bare.max_tokens, bare.seed) == (0.5, 40, 3)
