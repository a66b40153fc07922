"""The documentation's programs do what it says, run as their readers would run them."""

from __future__ import annotations

import pytest
from llama_index_client import llama_index_folder
from recipes import blocks_of_the_page, recipes
from served_room import KEY, need_client, run_python

OFFICIAL = recipes("The official client")
[LANGCHAIN] = recipes("LangChain")
[LLAMA_INDEX] = recipes("LlamaIndex")


def test_every_program_of_the_page_is_run():
    kinds = blocks_of_the_page()
    programs = {name for name, found in kinds.items() if "python" in found}
    assert programs == {"The official client", "LangChain", "LlamaIndex"}
    assert kinds["Open WebUI"] == {"ini"}


@pytest.mark.parametrize("recipe", OFFICIAL, ids=range(1, len(OFFICIAL) + 1))
def test_the_official_client(room, recipe):
    assert ran(recipe, room) == recipe.prints


def test_langchain(room):
    need_client("langchain-openai", "langchain_openai")
    assert ran(LANGCHAIN, room) == LANGCHAIN.prints


def test_llama_index(room):
    assert ran(LLAMA_INDEX, room, path=llama_index_folder()) == LLAMA_INDEX.prints


def ran(recipe, room, path=None):
    return run_python(
        recipe.code, path=path, RAGSERVE_URL=room.url, RAGSERVE_API_KEY=KEY, NO_PROXY="127.0.0.1"
    )
