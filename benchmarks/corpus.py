"""Real text to measure with: PostgreSQL's manual as Debian packages it, fetched when needed."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

from deployments.embedding.minilm import weights_dir
from deployments.embedding.model_files import TOKENIZER_FILE
from deployments.errors import EmptyDocument
from deployments.ingestion.chunking import Chunker
from deployments.ingestion.readers.content_types import HTML
from deployments.ingestion.readers.document import ExtractedDocument, ReadLimits
from deployments.ingestion.readers.registry import read
from deployments.ingestion.tokens import load_token_counter

FOLDER = Path("/tmp/ragserve-corpus")
PACKAGE = "postgresql-doc-15"


def manual(folder: Path = FOLDER) -> list[Path]:
    """The manual's pages, in an order that mixes subjects and is the same every time."""
    root = folder / "root"
    if not root.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", PACKAGE], cwd=folder, check=True)
        package = next(folder.glob(f"{PACKAGE}_*.deb"))
        subprocess.run(["dpkg-deb", "-x", str(package), str(root)], check=True)
    pages = root.glob("usr/share/doc/postgresql-doc-15/html/*.html")
    return sorted(pages, key=lambda page: hashlib.sha256(page.name.encode()).digest())


def extract(page: Path) -> ExtractedDocument | None:
    """A page's text by the platform's own reader; None where it holds none."""
    try:
        return read(page, HTML, page.name, ReadLimits())
    except EmptyDocument:
        return None


def chunker() -> Chunker:
    """The platform's own, as its ingestion sets it up."""
    return Chunker(load_token_counter(weights_dir() / TOKENIZER_FILE))


def chunk_texts(pages: Sequence[Path], cutter: Chunker) -> list[str]:
    """What an ingestion of these pages embeds, page after page."""
    texts: list[str] = []
    for page in pages:
        document = extract(page)
        if document is not None:
            drafts = cutter.chunk(document)
            texts += [cutter.embedding_text(d) for d in drafts]
    return texts
