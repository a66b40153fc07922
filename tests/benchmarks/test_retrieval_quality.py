"""What the retrieval benchmark makes of ranks, and what it reads out of the FAQs."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.faq import is_held_out, read_questions
from benchmarks.retrieval_quality import Asked, figures


def asked(*ranks: int, passages: int = 1) -> Asked:
    return Asked("dense", held_out=True, ranks=ranks, passages=passages)


def test_an_answer_counts_where_its_first_passage_stands() -> None:
    found = figures([asked(1, 5, passages=2), asked(3), asked()])
    assert found["nDCG@10"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert found["MRR@10"] == pytest.approx((1 + 1 / 3) / 3)
    assert (found["recall@1"], found["recall@5"]) == pytest.approx((1 / 3, 2 / 3))


def test_all_passages_of_an_answer_first_is_the_best_there_is() -> None:
    assert figures([asked(1, 2, 3, passages=3)])["passages nDCG@10"] == pytest.approx(1.0)
    assert figures([asked(*range(1, 11), passages=14)])["passages nDCG@10"] == pytest.approx(1.0)
    half = figures([asked(1, passages=2)])["passages nDCG@10"]
    assert half == pytest.approx(1 / (1 + 1 / math.log2(3)))


def test_without_a_question_there_is_no_figure() -> None:
    with pytest.raises(ValueError, match="no question"):
        figures([])


def test_a_question_is_its_heading_and_its_answer_what_stands_below(tmp_path: Path) -> None:
    pod = tmp_path / "usr/share/perl/5.36.0/pod"
    pod.mkdir(parents=True)
    (pod / "perlfaq4.pod").write_text(
        "=head1 NAME\n\nperlfaq4 - Data\n\n=head1 Numbers\n\n"
        "=head2 Why does C<int()> not round?\n\n"
        "It cuts, see L<perlfunc>. Use C<sprintf> where you want the nearest integer.\n\n"
        "=head2 Author\n\nSomebody whose name is long enough to be no answer that is too short.\n"
    )
    (question,) = read_questions(tmp_path)
    assert question.text == "Why does int() not round?"
    assert question.title == "perlfaq4 - Data"
    assert question.answer.startswith("It cuts, see perlfunc. Use sprintf")


def test_about_half_of_the_questions_are_held_out_and_always_the_same() -> None:
    held_out = [is_held_out(f"question {number}") for number in range(400)]
    assert 160 < sum(held_out) < 240
    assert held_out == [is_held_out(f"question {number}") for number in range(400)]
