# ruff: noqa: INP001 - a script of the image, not a module
"""Makes the model files of the image, and uses each model once: nothing is left for run time."""

from __future__ import annotations

import asyncio
import os

from deployments.contracts.embedding import Lane
from deployments.contracts.generation import GenerationRequest, Message
from deployments.embedding.onnx import OnnxEmbedder
from deployments.generation.llama_cpp import LlamaCppGenerator


async def main() -> None:
    """Embed a sentence and generate a word.

    Raises:
        SystemExit: a model gives nothing.
    """
    embedder = OnnxEmbedder(cache_dir=os.environ["MODEL_CACHE"])
    vectors = await embedder.embed(["Which ports does it use?"], Lane.QUERY)
    generator = LlamaCppGenerator()
    request = GenerationRequest(messages=(Message("user", "Say yes."),), max_tokens=4)
    words = "".join([token.text async for token in generator.stream(request)])
    await generator.aclose()
    await embedder.aclose()
    if not vectors.any() or not words:
        raise SystemExit("A model gives nothing.")


if __name__ == "__main__":
    asyncio.run(main())
