"""OpenAI's own client against the real system: documents, language model, embeddings."""

from __future__ import annotations

import base64

import numpy as np
import openai
import pytest

from deployments.embedding.onnx import OnnxEmbedder
from serve_app.schemas import TextDocument, TextDocuments

COLLECTION = "lifeboats"
RAG = f"rag:{COLLECTION}"
FACT = "The lifeboat of Tollick Bay is called Petrel and has a crew of nine."
ASKED = [{"role": "user", "content": "What is the lifeboat of Tollick Bay called?"}]


@pytest.fixture(scope="module")
async def official(system) -> openai.AsyncOpenAI:
    async with system.client() as client:
        await client.create_collection(COLLECTION)
        document = TextDocument(title="Lifeboats", text=f"# Lifeboats\n\n{FACT}\n")
        documents = TextDocuments(documents=[document])
        job = await client.wait((await client.add_texts(COLLECTION, documents)).id, timeout_s=120)
        assert job.progress.files_done == 1, job
    address = {"base_url": f"{system.url}/v1", "api_key": system.api_key}
    async with openai.AsyncOpenAI(**address, max_retries=0, timeout=120) as client:
        yield client


async def models_of(client):
    """The names of the language model and of the embedding model."""
    ids = [model.id async for model in client.models.list()]
    assert RAG in ids
    return [name for name in ids if not name.startswith("rag:")]


async def test_the_documents_answer_with_a_citation(official):
    reply = await official.chat.completions.create(model=RAG, messages=ASKED)
    message = reply.choices[0].message
    assert "Petrel" in message.content
    assert message.content.rstrip().endswith("[1]")
    [citation, *_] = message.ragserve["citations"]
    assert citation["title"] == "Lifeboats"
    quote = message.ragserve["passages"][citation["passage"] - 1]["text"]
    assert "Petrel" in quote[citation["quote_start"] : citation["quote_end"]]
    assert reply.usage.completion_tokens > 0


async def test_the_language_model_streams_its_own_words(official):
    language_model, _ = await models_of(official)
    stream = await official.chat.completions.create(
        model=language_model,
        messages=[{"role": "user", "content": "Write three sentences about the sea."}],
        max_tokens=48,
        stream=True,
        stream_options={"include_usage": True},
    )
    async with stream:
        chunks = [chunk async for chunk in stream]
    pieces = [
        c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content
    ]
    assert len(pieces) > 1
    assert "".join(pieces).strip()
    assert 0 < chunks[-1].usage.completion_tokens <= 48


async def test_embeddings_are_the_ones_of_the_collections_model(official, system):
    _, embedding_model = await models_of(official)
    texts = [FACT, "What is the lifeboat called?", "rye bread"]
    own = OnnxEmbedder(cache_dir=system.embedded.environment["MODEL_CACHE"])
    try:
        expected = await own.embed(texts)
    finally:
        await own.aclose()
    for encoding in ("float", "base64"):
        answer = await official.embeddings.create(
            model=embedding_model, input=texts, encoding_format=encoding
        )
        if encoding == "base64":
            got = [np.frombuffer(base64.b64decode(d.embedding), "<f4") for d in answer.data]
        else:
            got = [item.embedding for item in answer.data]
        np.testing.assert_allclose(np.array(got, np.float32), expected, atol=1e-5)


async def test_a_key_for_other_collections_does_not_see_the_model(system, official):
    key = await system.make_key(["query"], ["other_*"])
    stranger = official.with_options(api_key=key)
    assert RAG not in {model.id async for model in stranger.models.list()}
    with pytest.raises(openai.NotFoundError) as refused:
        await stranger.chat.completions.create(model=RAG, messages=ASKED)
    assert refused.value.code == "model_not_found"


async def test_a_collection_that_is_not_there_is_not_found_in_a_stream_too(official):
    with pytest.raises(openai.NotFoundError):
        await official.chat.completions.create(model="rag:absent", messages=ASKED, stream=True)
