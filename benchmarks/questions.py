"""Questions about PostgreSQL's manual, one a page, so that no cache sees the same one too often."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.corpus import extract

_NUMBER = re.compile(r"^(Chapter |Part |Appendix )?[0-9A-Z]+(\.[0-9]+)*\.\s+")


def questions(pages: Sequence[Path]) -> list[str]:
    """What each page's title is about, pages without text left out."""
    documents = (extract(page) for page in pages)
    titles = (document.title for document in documents if document and document.title)
    return [f"What is {_NUMBER.sub('', title).strip()} for?" for title in titles]
