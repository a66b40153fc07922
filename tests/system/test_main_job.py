"""Documents in, a question over HTTP, a cited answer out: on the real system."""

from __future__ import annotations

from pathlib import Path

import pytest

from serve_app.client import AsyncRagserve, Upload
from serve_app.schemas import QueryIn, SearchIn
from tests.system.documents import write_docx, write_html, write_markdown, write_pdf

COLLECTION = "village"
QUESTIONS = {
    "manual.pdf": ("When was the lighthouse at Cape Orrin built?", "1874"),
    "ferry.docx": ("When does the ferry to Brannock leave in summer?", "07:40"),
    "bakery.html": ("How many kinds of bread does the village bakery sell?", "seventeen"),
    "observatory.md": ("How large is the mirror of the Quillfeather telescope?", "2.4"),
}


@pytest.fixture(scope="module")
async def village(system, tmp_path_factory) -> AsyncRagserve:
    folder: Path = tmp_path_factory.mktemp("village")
    paths = [
        write_pdf(folder / "manual.pdf"),
        write_docx(folder / "ferry.docx"),
        write_html(folder / "bakery.html"),
        write_markdown(folder / "observatory.md"),
    ]
    async with system.client() as client:
        await client.create_collection(COLLECTION)
        job = await client.upload(COLLECTION, [Upload(path, path.name) for path in paths])
        job = await client.wait(job.id, timeout_s=120)
        assert job.state == "COMPLETED", job
        assert job.progress.files_failed == 0, job.files
        yield client


@pytest.mark.parametrize("source", QUESTIONS)
async def test_a_question_is_answered_with_a_citation_of_the_right_document(village, source):
    question, fact = QUESTIONS[source]
    answer = await village.query(QueryIn(collection=COLLECTION, question=question))
    assert answer.answered
    assert fact in answer.answer
    cited = {answer.passages[citation.passage - 1].source for citation in answer.citations}
    assert source in cited
    quoted = [
        answer.passages[c.passage - 1].text[c.quote_start : c.quote_end] for c in answer.citations
    ]
    assert any(fact in quote for quote in quoted)
    assert {"embed", "search", "total"} <= set(answer.timings_ms)


async def test_a_pdf_citation_names_its_page(village):
    question = "Who lights the lamp of the Cape Orrin lighthouse?"
    answer = await village.query(QueryIn(collection=COLLECTION, question=question))
    assert 2 in {citation.page for citation in answer.citations}


async def test_the_stream_ends_with_the_whole_answer(village):
    question = "How high is the tower of the lighthouse?"
    kinds = []
    async for event in village.stream_query(
        QueryIn(collection=COLLECTION, question=question, stream=True, cache=False)
    ):
        kinds.append(type(event).__name__)
        last = event
    assert kinds[0].startswith("Passages")
    assert any(kind.startswith("Token") for kind in kinds)
    assert "31" in last.result.answer


async def test_what_is_not_in_the_documents_is_not_invented(village):
    question = "What is the boiling point of mercury in kelvin?"
    answer = await village.query(QueryIn(collection=COLLECTION, question=question))
    assert not answer.answered
    assert answer.citations == []
    assert answer.usage.completion_tokens == 0


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
async def test_every_search_mode_finds_the_passage(village, mode):
    found = await village.search(
        SearchIn(collection=COLLECTION, query="rye bread rests thirty hours", mode=mode)
    )
    assert found.passages[0].source == "bakery.html"


async def test_a_metadata_filter_narrows_a_search(village):
    found = await village.search(
        SearchIn(
            collection=COLLECTION,
            query="lighthouse",
            filter={"field": "source", "eq": "bakery.html"},
        )
    )
    assert {passage.source for passage in found.passages} == {"bakery.html"}


async def test_an_unchanged_file_is_left_alone_and_a_changed_one_replaced(village, tmp_path):
    path = tmp_path / "notice.md"
    path.write_text("# Notice\n\nThe harbour office opens at nine o'clock.\n")
    job = await village.wait((await village.upload(COLLECTION, [Upload(path, path.name)])).id)
    assert job.progress.files_done == 1
    job = await village.wait((await village.upload(COLLECTION, [Upload(path, path.name)])).id)
    assert job.progress.files_unchanged == 1
    path.write_text("# Notice\n\nThe harbour office opens at half past ten.\n")
    await village.wait((await village.upload(COLLECTION, [Upload(path, path.name)])).id)
    found = await village.search(SearchIn(collection=COLLECTION, query="harbour office opens"))
    texts = [passage.text for passage in found.passages if passage.source == "notice.md"]
    assert len(texts) == 1
    assert "half past ten" in texts[0]


async def test_a_deleted_document_is_found_no_more(village, tmp_path):
    path = tmp_path / "secret.md"
    path.write_text("# Cellar\n\nThe cellar key hangs behind the blue barrel.\n")
    await village.wait((await village.upload(COLLECTION, [Upload(path, path.name)])).id)
    listed = await village.list_documents(COLLECTION)
    document = next(d for d in listed.documents if d.source == "secret.md")
    await village.delete_document(COLLECTION, document.id)
    found = await village.search(SearchIn(collection=COLLECTION, query="cellar key blue barrel"))
    assert "secret.md" not in {passage.source for passage in found.passages}


async def test_one_bad_file_fails_alone_with_its_reason(village, tmp_path):
    good, bad = tmp_path / "good.md", tmp_path / "bad.pdf"
    good.write_text("# Mill\n\nThe mill grinds barley on Tuesdays.\n")
    bad.write_bytes(b"%PDF-1.7\nthis is no PDF at all")
    sent = [Upload(good, good.name), Upload(bad, bad.name)]
    job = await village.wait((await village.upload(COLLECTION, sent)).id)
    assert job.state == "COMPLETED"
    states = {file.name: (file.state, file.error_code) for file in job.files}
    assert states == {"good.md": ("DONE", None), "bad.pdf": ("FAILED", "damaged_document")}
