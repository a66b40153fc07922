"""A file with hundreds of pages on real Ray tasks, one of which is killed on the way."""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path

from reportlab.pdfgen.canvas import Canvas

from deployments.embedding.minilm import weights_dir
from deployments.embedding.model_files import TOKENIZER_FILE
from deployments.ingestion.chunking import Chunker
from deployments.ingestion.readers.content_types import PDF
from deployments.ingestion.readers.document import ReadLimits
from deployments.ingestion.readers.registry import read
from deployments.ingestion.settings import RANGE_PAGES
from deployments.ingestion.tokens import load_token_counter
from serve_app.client import Upload
from tests.conftest import RunningSystem
from tests.system.struck_jobs import ended, fresh_collection, passages, processes_of

PAGES = 4 * RANGE_PAGES + 10
LINES = 4


def write_book(path: Path) -> Path:
    chance = random.Random("book")
    canvas = Canvas(str(path))
    canvas.setTitle("The book")
    for page in range(PAGES):
        for line in range(LINES):
            words = chance.choices(["kestrel", "harbour", "lantern", "orchard", "granite"], k=9)
            canvas.drawString(72, 760 - 20 * line, f"{page}.{line} {' '.join(words)}")
        canvas.showPage()
    canvas.save()
    return path


async def test_a_large_file_is_taken_in_by_several_tasks_and_survives_the_death_of_one(
    system: RunningSystem, tmp_path: Path
) -> None:
    book = write_book(tmp_path / "book.pdf")
    chunker = Chunker(load_token_counter(weights_dir() / TOKENIZER_FILE))
    whole = chunker.chunk(read(book, PDF, "book.pdf", ReadLimits()))
    most = 0
    struck = False
    async with system.client() as client:
        collection = await fresh_collection(client, "book")
        job_id = (await client.upload(collection, [Upload(book, "book.pdf")])).id
        ending = asyncio.create_task(ended(client, job_id))
        while not ending.done():
            at_work = processes_of(system.embedded.node.child, "ray::ingest_file")
            most = max(most, len(at_work))
            written = (await client.get_job(job_id)).progress.chunks_total
            if at_work and written and not struck:
                at_work[0].send_signal(signal.SIGKILL)
                struck = True
            await asyncio.sleep(0.05)
        job = await ending
    assert (job.state, job.progress.files_done) == ("COMPLETED", 1), job
    assert (struck, most > 1) == (True, True), "one task did it all"
    assert await passages(system, collection) == {
        ("book.pdf", draft.number, draft.text) for draft in whole
    }
