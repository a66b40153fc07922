"""How many tokens a text has, asked of the model's own tokenizer once a text."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from deployments.contracts.generation import Generator


class TokenCounts:
    """Counts by text, the most recently used kept: passages and instructions come again."""

    def __init__(self, generator: Generator, keep: int = 4096) -> None:
        self._generator = generator
        self._keep = keep
        self._counts: OrderedDict[str, int] = OrderedDict()

    async def of(self, texts: Sequence[str]) -> list[int]:
        """One count a text; one call to the generator for all that are new.

        Raises:
            GenerationUnavailable: the engine cannot be reached.
        """
        known = {text: self._counts[text] for text in texts if text in self._counts}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            counts = await self._generator.count_tokens(missing)
            known.update(zip(missing, counts, strict=True))
        for text, value in known.items():
            self._counts[text] = value
            self._counts.move_to_end(text)
        while len(self._counts) > self._keep:
            self._counts.popitem(last=False)
        return [known[text] for text in texts]
