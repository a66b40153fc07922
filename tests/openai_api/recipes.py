"""The programs in docs/openai-api.md, each with what it says it prints."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_PAGE = Path(__file__).parents[2] / "docs" / "openai-api.md"
_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Recipe:
    section: str
    code: str
    prints: str


def recipes(section: str) -> list[Recipe]:
    """The section's programs. Each must be followed by its output."""
    page = _PAGE.read_text()
    start = page.index(f"\n## {section}\n") + 1
    following = _SECTION.search(page, start + 1)
    blocks = _BLOCK.findall(page[start : following.start() if following else len(page)])
    found = []
    for (kind, code), (next_kind, prints) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if kind == "python":
            assert next_kind == "text", f"a program of {section!r} does not say what it prints"
            found.append(Recipe(section, code, prints))
    assert found, f"no programs in {section!r}"
    return found


def blocks_of_the_page() -> dict[str, set[str]]:
    """The kinds of code blocks in each section."""
    page = _PAGE.read_text()
    parts = _SECTION.split(page)
    named = zip(["", *parts[1::2]], parts[0::2], strict=True)
    return {name: {kind for kind, _ in _BLOCK.findall(text)} for name, text in named}
