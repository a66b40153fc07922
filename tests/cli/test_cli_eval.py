"""`ragserve eval` against the fake API."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from outcome import Command


@pytest.fixture
def file(tmp_path: Path) -> str:
    lines = [
        {"question": "signs", "passages": ["signed by the head of the department"]},
        {"question": "signs", "documents": ["Finance FAQ", "Lost"]},
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


def test_retrieval_is_measured_and_printed_as_a_table(ragserve: Command, file: str) -> None:
    outcome = ragserve("eval", file)
    assert outcome.code == 0, outcome.err
    rows = dict(line.split()[:2] for line in outcome.out.splitlines())
    assert rows["recall"] == "0.750"
    assert "answered" not in rows
    assert "Asking" in outcome.err


def test_programs_get_every_question(ragserve: Command, file: str) -> None:
    found = ragserve("eval", file, "--json").json
    assert found["questions"] == 2
    assert found["means"]["recall"] == {"value": 0.75, "of": 2}
    assert [result["recall"] for result in found["results"]] == [1.0, 0.5]


def test_answers_are_asked_for_when_wanted(ragserve: Command, file: str) -> None:
    found = ragserve("eval", file, "--answers", "--json").json
    assert found["means"]["answered"]["value"] == 1.0
    assert found["results"][0]["answer"]


def test_a_figure_below_its_bound_is_a_failure(ragserve: Command, file: str) -> None:
    assert ragserve("eval", file, "--fail-under", "recall=0.7").code == 0
    outcome = ragserve("eval", file, "--fail-under", "recall=0.9")
    assert (outcome.code, "recall is 0.750, below 0.9" in outcome.err) == (1, True)
    unknown = ragserve("eval", file, "--fail-under", "faithfulness=0.5")
    assert (unknown.code, "faithfulness is not known" in unknown.err) == (1, True)


@pytest.mark.parametrize("bound", ["recall", "recall=2", "speed=0.5"])
def test_a_bound_that_is_none_is_refused(ragserve: Command, file: str, bound: str) -> None:
    outcome = ragserve("eval", file, "--fail-under", bound)
    assert (outcome.code, "FIGURE=SHARE" in outcome.err) == (2, True)


def test_a_file_that_holds_no_questions_is_refused(ragserve: Command, tmp_path: Path) -> None:
    outcome = ragserve("eval", str(tmp_path / "nothing.jsonl"))
    assert (outcome.code, "No such file" in outcome.err) == (2, True)


def test_a_judge_that_cannot_be_asked_is_a_failure(ragserve: Command, file: str) -> None:
    outcome = ragserve("eval", file, "--judge-url", "http://127.0.0.1:9/v1")
    assert (outcome.code, "There is no judge" in outcome.err) == (1, True)
