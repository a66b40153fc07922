"""Each reader gives a real file's text, headings, pages and metadata."""

from __future__ import annotations

from pathlib import Path

import pytest
from good_files import CODE, GOOD, TYPES, pdf

from deployments.errors import DocumentTooLarge
from deployments.ingestion.readers import content_types as types
from deployments.ingestion.readers.content_types import detect_content_type
from deployments.ingestion.readers.document import ExtractedDocument, ReadLimits
from deployments.ingestion.readers.registry import read


@pytest.fixture
def reading(tmp_path: Path):
    def run(kind: str, limits: ReadLimits | None = None) -> ExtractedDocument:
        name, data = GOOD[kind]
        return read_bytes(tmp_path, name, data, limits)

    return run


def read_bytes(
    folder: Path, name: str, data: bytes, limits: ReadLimits | None = None
) -> ExtractedDocument:
    path = folder / "blob"
    path.write_bytes(data)
    kind = detect_content_type(name, data[: types.HEAD_BYTES])
    return read(path, kind, name, limits or ReadLimits())


@pytest.mark.parametrize("kind", GOOD)
def test_a_good_file_is_known_by_name_and_bytes(kind: str) -> None:
    name, data = GOOD[kind]
    assert detect_content_type(name, data[: types.HEAD_BYTES]) == TYPES[kind]


def test_plain_text_is_tidied_but_whole(reading) -> None:
    document = reading("text")
    assert document.title == "guide"
    assert document.text == "Kestrels hover.\n\nBarn owls screech."


def test_markdown_keeps_headings_and_code(reading) -> None:
    document = reading("markdown")
    assert document.title == "Field guide"
    assert [(s.heading, s.text.split("\n")[0]) for s in document.sections] == [
        ("", "Before any heading."),
        ("Birds", "Kestrels hover."),
        ("Birds > Owls of Europe", "Barn owls screech."),
        ("Eagles", "Eagles soar."),
    ]
    assert "# no heading" in document.sections[1].text


def test_a_page_gives_its_main_content_only(reading) -> None:
    document = reading("html")
    assert document.title == "Field guide"
    assert [s.heading for s in document.sections] == ["Birds", "Birds > Owls"]
    assert document.sections[0].text == "Kestrels hover."
    owls = document.sections[1].text
    assert owls.startswith("Barn owls screech.")
    assert "- Eagle" in owls
    assert "a\n  b" in owls
    assert "Name | Wingspan\nKestrel | 76 cm" in owls
    for unwanted in ("boo", "Home", "Copyright", "instructions", "color"):
        assert unwanted not in document.text


def test_a_pdf_gives_pages_bookmarks_and_title(reading) -> None:
    document = reading("pdf")
    assert document.title == "Field guide"
    assert [(s.page, s.heading, s.text) for s in document.sections] == [
        (1, "Chapter 1", "Kestrels hover over page 1."),
        (2, "Chapter 2", "Kestrels hover over page 2."),
    ]
    assert document.metadata == {"pages": 2}


def test_a_pdf_that_only_its_owner_locked_can_be_read(tmp_path: Path) -> None:
    from reportlab.lib.pdfencrypt import StandardEncryption

    locked = StandardEncryption("", ownerPassword="owner", strength=128)
    assert "Kestrels" in read_bytes(tmp_path, "a.pdf", pdf(password=locked)).text


def test_a_word_document_gives_headings_and_tables(reading) -> None:
    document = reading("docx")
    assert document.title == "Field guide"
    assert [(s.heading, s.text) for s in document.sections] == [
        ("Birds", "Kestrels hover."),
        ("Birds > Owls", "Barn owls screech.\n\nName | Wingspan\nKestrel | 76 cm"),
    ]


def test_slides_are_pages_with_notes(reading) -> None:
    document = reading("pptx")
    assert [(s.page, s.heading) for s in document.sections] == [(1, "Slide 1"), (2, "Slide 2")]
    assert document.sections[1].text == "Kestrels hover on slide 2.\n\nNotes: Say it slowly."


def test_a_book_is_read_in_the_order_of_its_spine(reading) -> None:
    document = reading("epub")
    assert document.title == "Field guide"
    assert [s.heading for s in document.sections] == ["Chapter two", "Chapter one"]
    assert document.metadata["author"] == "A. Heron"


def test_an_e_mail_gives_its_headers_and_plain_text(reading) -> None:
    document = reading("eml")
    assert document.title == "Kestrels"
    assert "From: a@example.org" in document.text
    assert document.text.count("hover") == 1
    assert document.metadata["attachments"] == "kestrel.png"
    assert document.metadata["date"] == "2026-11-24T10:00:00+00:00"


def test_rows_are_sections_with_typed_columns(reading) -> None:
    first, second = reading("csv").sections
    assert first.text == "name: Kestrel\nwingspan: 76\ncode: 007"
    assert first.metadata == {"row": 1, "name": "Kestrel", "wingspan": 76, "code": "007"}
    assert second.metadata["name"] == "Owl, barn"
    assert second.metadata["wingspan"] == 89.5


def test_json_lines_take_the_text_field_as_text(reading) -> None:
    first, second = reading("jsonl").sections
    assert (first.heading, first.text) == ("Kestrel", "Kestrels hover.")
    assert first.metadata["wingspan"] == 76
    assert first.metadata["where.land"] == "DE"
    assert second.text == "name: Owl\ntags: night, white"
    assert second.heading == ""


def test_source_code_is_kept_verbatim(reading) -> None:
    document = reading("code")
    assert document.text == CODE.rstrip("\n")
    assert document.metadata == {"language": "python"}
    assert document.title == "guide.py"


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "utf-8"]
)
def test_text_in_other_encodings_is_decoded(tmp_path: Path, encoding: str) -> None:
    text = "Der Turmfalke rüttelt über der Wiese. Größe: fünfunddreißig Zentimeter. " * 9
    assert read_bytes(tmp_path, "a.txt", text.encode(encoding)).text == text.strip()


def test_a_page_may_name_its_encoding(tmp_path: Path) -> None:
    page = '<meta charset="shift_jis"><p>チョウゲンボウ</p>'.encode("shift_jis")
    assert read_bytes(tmp_path, "a.html", page).text == "チョウゲンボウ"


def test_a_heading_without_text_is_not_lost(tmp_path: Path) -> None:
    document = read_bytes(tmp_path, "a.md", b"# Birds\n\n## Kestrel\n\n## Owl\n\nText.\n")
    assert [(s.heading, s.text) for s in document.sections] == [
        ("Birds", "Kestrel"),
        ("Birds > Owl", "Text."),
    ]


def test_characters_that_are_not_text_are_left_out(tmp_path: Path) -> None:
    text = read_bytes(tmp_path, "a.json", b'["a\\u0000b\\ud800c"]').text
    assert text == "value: abc"


@pytest.mark.parametrize(
    ("kind", "limits"),
    [
        ("text", ReadLimits(max_bytes=10)),
        ("markdown", ReadLimits(max_characters=20)),
        ("pdf", ReadLimits(max_pages=1)),
        ("pptx", ReadLimits(max_pages=1)),
        ("csv", ReadLimits(max_sections=1)),
        ("docx", ReadLimits(max_unpacked_bytes=1_000)),
        ("epub", ReadLimits(max_members=2)),
    ],
)
def test_each_limit_is_held(reading, kind: str, limits: ReadLimits) -> None:
    with pytest.raises(DocumentTooLarge):
        reading(kind, limits)
