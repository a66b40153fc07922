"""Passages widened by the chunks around them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from deployments.contracts.retrieval import Chunk, Passage, VectorStore

_MAX_OVERLAP_CHARS = 2000


async def widen(store: VectorStore, passages: Sequence[Passage], reach: int) -> list[Passage]:
    """Each passage with up to `reach` chunks on either side, as one text.

    A chunk that is a passage itself, or is already part of a better passage, is not repeated.
    The document's chunks that cannot be found are left out.

    Raises:
        StoreUnavailable: the store cannot be reached.
    """
    taken = {_place(passage.chunk) for passage in passages}
    wanted: list[list[int]] = []
    for passage in passages:
        numbers = _around(passage.chunk, reach, taken)
        taken.update((*_place(passage.chunk)[:2], number) for number in numbers)
        wanted.append(numbers)
    found = await asyncio.gather(
        *(
            store.get_chunks(
                passage.collection,
                passage.chunk.document.id,
                passage.chunk.document.version,
                numbers,
            )
            for passage, numbers in zip(passages, wanted, strict=True)
        )
    )
    return [
        replace(passage, chunk=_joined([*around, passage.chunk], passage.chunk))
        for passage, around in zip(passages, found, strict=True)
    ]


def _place(chunk: Chunk) -> tuple[str, int, int]:
    return (chunk.document.id, chunk.document.version, chunk.number)


def _around(chunk: Chunk, reach: int, taken: set[tuple[str, int, int]]) -> list[int]:
    """Free numbers next to the chunk, without a gap between them and it."""
    numbers: list[int] = []
    for step in (-1, 1):
        for distance in range(1, reach + 1):
            number = chunk.number + step * distance
            inside = 0 <= number < chunk.document.chunk_count
            if not inside or (*_place(chunk)[:2], number) in taken:
                break
            numbers.append(number)
    return sorted(numbers)


def _joined(chunks: Sequence[Chunk], own: Chunk) -> Chunk:
    ordered = sorted(chunks, key=lambda chunk: chunk.number)
    text = ordered[0].text
    for chunk in ordered[1:]:
        repeated = _overlap(text, chunk.text)
        text += chunk.text[repeated:] if repeated else "\n\n" + chunk.text
    return replace(
        own,
        text=text,
        page=ordered[0].page,
        start_char=ordered[0].start_char,
        end_char=ordered[-1].end_char,
    )


def _overlap(before: str, after: str) -> int:
    """How many characters at the end of `before` open `after` again."""
    for size in range(min(len(before), len(after), _MAX_OVERLAP_CHARS), 0, -1):
        if before.endswith(after[:size]):
            return size
    return 0
