from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.query.citations import MarkerFilter, answer_sentences


def shown(pieces: list[str], passages: int) -> tuple[str, MarkerFilter]:
    markers = MarkerFilter(passages)
    text = "".join(markers.feed(piece) for piece in pieces) + markers.flush()
    return text, markers


@pytest.mark.parametrize(
    ("raw", "text", "named", "dropped"),
    [
        ("It is so [1].", "It is so [1].", [(1,)], 0),
        ("It is so [7].", "It is so.", [], 1),
        ("Both [1][2].", "Both [1][2].", [(1,), (2,)], 0),
        ("Both [1, 9, 2].", "Both [1, 2].", [(1, 2)], 1),
        ("None [8, 9].", "None.", [], 2),
        ("Code `a[1]` and argv[0] stay.", "Code `a[1]` and argv[0] stay.", [], 0),
        ("```\nx[9]\n```\nyes [9]", "```\nx[9]\n```\nyes", [], 1),
        ("In [2024] it began.", "In [2024] it began.", [], 0),
        ("A [link](http://x) and [1](http://y).", "A [link](http://x) and [1](http://y).", [], 0),
        ("An open [1", "An open [1", [], 0),
        ("[5] starts", " starts", [], 1),
        ("empty [] and [a]", "empty [] and [a]", [], 0),
        ("zero [0].", "zero.", [], 1),
    ],
)
def test_markers_that_point_nowhere_leave_the_text_and_are_counted(
    raw: str, text: str, named: list[tuple[int, ...]], dropped: int
) -> None:
    got, markers = shown([raw], passages=3)
    assert got == text
    assert [marker.passages for marker in markers.markers] == named
    assert markers.dropped == dropped
    assert all(got[m.start : m.end].startswith("[") for m in markers.markers)


RAW = st.lists(
    st.sampled_from(
        [
            "word",
            " ",
            "[1]",
            "[9]",
            "[1, 2]",
            "[",
            "]",
            "`",
            "```",
            ".",
            "\n",
            "(",
            "1",
            ",",
            "x[0]",
        ]
    ),
    max_size=25,
).map("".join)


@given(RAW, st.lists(st.integers(1, 5), max_size=40))
def test_how_a_stream_is_cut_does_not_change_the_answer(raw: str, cuts: list[int]) -> None:
    pieces, position = [], 0
    for cut in cuts:
        pieces.append(raw[position : position + cut])
        position += cut
    pieces.append(raw[position:])
    whole, one = shown([raw], passages=2)
    cut_up, other = shown(pieces, passages=2)
    assert (cut_up, other.markers, other.dropped) == (whole, one.markers, one.dropped)
    for marker in one.markers:
        assert whole[marker.start] == "["
        assert whole[marker.end - 1] == "]"


def test_a_marker_after_the_full_stop_belongs_to_the_sentence_before_it() -> None:
    text, markers = shown(["It is red. [1] It is big [2]. It is old."], passages=2)
    found = answer_sentences(text, markers.markers)
    assert [(s.words, s.passages) for s in found] == [
        ("It is red.", (1,)),
        ("It is big.", (2,)),
        ("It is old.", ()),
    ]
    assert text[found[0].span.start : found[0].span.end] == "It is red. [1]"


@given(RAW)
def test_answer_sentences_are_ordered_and_lie_inside_the_answer(raw: str) -> None:
    text, markers = shown([raw], passages=2)
    end = 0
    for sentence in answer_sentences(text, markers.markers):
        assert end <= sentence.span.start < sentence.span.end <= len(text)
        end = sentence.span.end
