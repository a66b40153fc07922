from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.query.sentences import MAX_CHARS, split_sentences

PIECES = st.sampled_from(
    [
        "Hello there.",
        " ",
        "\n",
        "\n\n",
        "- item",
        "1. one",
        "# Head",
        "```",
        "    code()",
        "e.g. ",
        "Dr. ",
        "3.14",
        "\t",
        "Really?",
        "名前。",
        "`x.y`",
        "A" * 500,
        "word ",
        "!",
        '"Quoted."',
        "…",
        "* ",
        "> ",
    ]
)
TEXTS = st.one_of(st.text(max_size=300), st.lists(PIECES, max_size=30).map("".join))


def sentences(text: str) -> list[str]:
    return [text[span.start : span.end] for span in split_sentences(text)]


@given(TEXTS)
def test_spans_are_ordered_trimmed_slices_that_do_not_overlap(text: str) -> None:
    spans = split_sentences(text)
    ends = 0
    for span in spans:
        assert ends <= span.start < span.end <= len(text)
        piece = text[span.start : span.end]
        assert piece == piece.strip()
        assert len(piece) <= MAX_CHARS
        ends = span.end


@given(TEXTS)
def test_no_word_is_lost_but_the_marks_of_markdown(text: str) -> None:
    kept = "".join(sentences(text))
    lost = list(text)
    for span in split_sentences(text):
        for index in range(span.start, span.end):
            lost[index] = ""
    outside = "".join(lost)
    letters = [c for c in outside if c.isalpha()]
    fences = outside.count("```") + outside.count("~~~")
    assert not letters or fences, (kept, outside)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Smith left at 3.30 p.m. on Monday.", ["Dr. Smith left at 3.30 p.m. on Monday."]),
        ("Use a cache, e.g. Redis. It helps.", ["Use a cache, e.g. Redis.", "It helps."]),
        ("A line\nthat goes on. Next.", ["A line\nthat goes on.", "Next."]),
        ("# Title\nText here.", ["Title", "Text here."]),
        ("- first\n- second\n\nAfter.", ["first", "second", "After."]),
        ("Run:\n\n    make\n    make test\n\nDone.", ["Run:", "make\n    make test", "Done."]),
        ("Run:\n```sh\nmake\n# not a title\n```\nDone.", ["Run:", "make\n# not a title", "Done."]),
        ('He said "Stop." Then left.', ['He said "Stop."', "Then left."]),
        ("see version 1.2.3 of it", ["see version 1.2.3 of it"]),
        ("第一句。第二句。", ["第一句。", "第二句。"]),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected
