from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from serve_app.client.sse import EventParser, ServerEvent


def parse(*chunks: bytes) -> list[ServerEvent]:
    parser = EventParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


def test_an_event_has_a_name_an_id_and_its_data_lines_joined() -> None:
    assert parse(b"event: token\nid: 7\ndata: one\ndata: two\n\n") == [
        ServerEvent("token", "one\ntwo", "7")
    ]


def test_the_last_id_holds_until_another_is_given() -> None:
    assert [event.id for event in parse(b"id: 7\ndata: a\n\ndata: b\n\nid\ndata: c\n\n")] == [
        "7",
        "7",
        "",
    ]


def test_an_event_without_its_blank_line_is_not_given() -> None:
    assert parse(b"data: whole\n\ndata: half\n") == [ServerEvent("message", "whole", "")]


def test_a_comment_shows_as_a_sign_of_life() -> None:
    assert parse(b": alive\n\n") == [ServerEvent("", "alive", "")]


def test_a_byte_order_mark_is_skipped_even_in_pieces() -> None:
    assert parse(b"\xef", b"\xbb\xbfdata: a\n\n") == [ServerEvent("message", "a", "")]


def test_line_separators_inside_a_text_do_not_cut_it() -> None:
    text = "a\u2028b\x0cc\x85d"
    assert parse(f"data: {text}\n\n".encode()) == [ServerEvent("message", text, "")]


STREAM = (
    'id: 1\r\nevent: passages\r\ndata: {"a": "é🧾"}\r\n\r\n: alive\r\rdata:x\ndata: y\n\n'
).encode()


@given(st.lists(st.integers(min_value=0, max_value=len(STREAM)), max_size=8))
def test_where_the_bytes_are_cut_makes_no_difference(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[start:end] for start, end in itertools.pairwise(edges)]
    assert parse(*chunks) == parse(STREAM)
    assert [event.data for event in parse(STREAM)] == ['{"a": "é🧾"}', "alive", "x\ny"]
