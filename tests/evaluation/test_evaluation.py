"""The figures of an evaluation, and the judge behind two of them."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from serve_app.evaluation.judge import Judge, JudgeUnavailable, default_model, share
from serve_app.evaluation.questions import Expectation, read
from serve_app.evaluation.report import Result, as_json, means
from serve_app.evaluation.retrieval import Found, judge_found
from serve_app.schemas import PassageOut


def passage(number: int, document: str, text: str = "") -> PassageOut:
    return PassageOut(
        number=number,
        document_id=document,
        title=f"Title of {document}",
        source=f"{document}.md",
        heading="",
        page=None,
        start_char=0,
        end_char=len(text),
        text=text,
        score=1.0 / number,
        metadata={},
    )


FOUND = [
    passage(1, "a"),
    passage(2, "b", "Signed by\n the HEAD of the department."),
    passage(3, "a"),
]


@pytest.mark.parametrize("name", ["b", "b.md", "Title of b"])
def test_a_document_is_known_by_its_id_its_source_or_its_title(name: str) -> None:
    found = judge_found(Expectation(question="Who signs?", documents=[name]), FOUND)
    assert found == Found(ndcg=pytest.approx(0.6309, abs=1e-4), recall=1.0, reciprocal_rank=0.5)


def test_a_passage_is_known_by_its_words_whatever_their_spacing_and_case() -> None:
    expected = Expectation(question="Who?", passages=["signed by the head of  the department"])
    assert judge_found(expected, FOUND).reciprocal_rank == 0.5


def test_what_was_not_found_costs_recall() -> None:
    found = judge_found(Expectation(question="Who?", documents=["a", "z"]), FOUND)
    assert (found.recall, found.reciprocal_rank) == (0.5, 1.0)
    assert found.ndcg == pytest.approx(1 / (1 + 0.6309), abs=1e-3)
    assert judge_found(Expectation(question="?", documents=["z"]), []) == Found(0.0, 0.0, 0.0)


def test_two_things_in_one_passage_are_no_better_than_the_best_there_is() -> None:
    found = judge_found(Expectation(question="?", documents=["b"], passages=["head of"]), FOUND[1:])
    assert (found.ndcg, found.recall) == (1.0, 1.0)


def test_a_line_that_is_no_question_is_named(tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text('{"question": "Who signs?"}\n\n{"question": "Why?", "document": ["a"]}\n')
    with pytest.raises(ValueError, match="line 3: document"):
        read(file)
    file.write_text("\n")
    with pytest.raises(ValueError, match="no question"):
        read(file)


def judge(*replies: object) -> tuple[Judge, list[dict[str, object]]]:
    """A judge that gives these replies in turn, and what it was asked."""
    asked: list[dict[str, object]] = []

    def reply(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/chat/completions"
        asked.append(json.loads(request.content))
        said = replies[len(asked) - 1]
        if isinstance(said, int):
            return httpx.Response(said)
        return httpx.Response(200, json={"choices": [{"message": {"content": said}}]})

    http = httpx.Client(base_url="http://judge/v1/", transport=httpx.MockTransport(reply))
    return Judge(http, "wise"), asked


def test_a_judge_sees_the_passages_for_faithfulness_and_the_question_for_relevance() -> None:
    wise, asked = judge("8", "Score: 10/10")
    judgement = wise.judge("Who signs?", "The head.", FOUND)
    assert (judgement.faithfulness, judgement.relevance) == (0.8, 1.0)
    first, second = (str(body["messages"]) for body in asked)
    assert "HEAD of the department" in first
    assert "Who signs?" not in first
    assert "Who signs?" in second
    assert "HEAD" not in second


@pytest.mark.parametrize(("said", "expected"), [("7.5", 0.75), ("11", None), ("good", None)])
def test_what_is_no_number_in_bounds_is_no_judgement(said: str, expected: float | None) -> None:
    assert share(said) == expected


def test_a_judge_that_is_out_says_so() -> None:
    out, _ = judge(503)
    with pytest.raises(JudgeUnavailable, match="503"):
        out.judge("?", "!", FOUND)
    empty = httpx.MockTransport(lambda _: httpx.Response(200, json={"data": []}))
    with pytest.raises(JudgeUnavailable, match="name one"):
        default_model(httpx.Client(base_url="http://judge/v1/", transport=empty))


def test_means_are_over_the_questions_that_know_the_figure() -> None:
    results = [
        Result("one", Found(1.0, 1.0, 1.0)),
        Result("two", Found(0.0, 0.5, 0.0), "An answer.", answered=True, grounding=0.8),
        Result("three", None, "None.", answered=False),
    ]
    assert means(results)["recall"] == (0.75, 2)
    assert means(results)["answered"] == (0.5, 2)
    assert means(results)["grounding"] == (0.8, 1)
    assert "faithfulness" not in as_json(results)["means"]
