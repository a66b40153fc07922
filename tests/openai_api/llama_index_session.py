"""What a LlamaIndex program asks, run in a process of its own; what it got goes out as JSON."""

from __future__ import annotations

import asyncio
import json
import sys

import openai
from llama_index.core.llms import ChatMessage
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike

url, key, language_model, embedding_model, question = sys.argv[1:]
address = {"api_base": url, "api_key": key, "max_retries": 0}
rag = OpenAILike(model="rag:handbook", is_chat_model=True, **address)
bare = OpenAILike(
    model=language_model, is_chat_model=True, temperature=0.5, max_tokens=40,
    additional_kwargs={"seed": 3}, **address,
)  # fmt: skip
embedding = OpenAILikeEmbedding(model_name=embedding_model, embed_batch_size=2, **address)
talk = [
    ChatMessage(role="system", content="Be brief."),
    ChatMessage(role="user", content="Tell me about the lighthouse."),
    ChatMessage(role="assistant", content="It has a tower."),
    ChatMessage(role="user", content="How high is it?"),
]


async def asynchronously() -> str:
    stream = await rag.astream_chat([ChatMessage(role="user", content=question)])
    return "".join([piece.delta or "" async for piece in stream])


def refusal() -> str:
    try:
        OpenAILike(model="rag:nowhere", is_chat_model=True, **address).complete(question)
    except openai.NotFoundError as error:
        return str(error.code)
    return "none"


answer = rag.chat([ChatMessage(role="user", content=question)])
sys.stdout.write(
    json.dumps(
        {
            "version": openai.__version__,
            "answer": answer.message.content,
            "title": answer.raw.choices[0].message.ragserve["citations"][0]["title"],
            "usage": answer.raw.usage.total_tokens,
            "completed": rag.complete(question).text,
            "streamed": "".join(piece.delta or "" for piece in rag.stream_chat(talk)),
            "asynchronous": asyncio.run(asynchronously()),
            "bare": bare.complete("Greet me").text,
            "vectors": embedding.get_text_embedding_batch(["bread", "butter", "jam"]),
            "refusal": refusal(),
        }
    )
)
