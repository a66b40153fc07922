from __future__ import annotations

import pytest

from deployments.contracts.generation import Message
from deployments.query.rewrite import standalone_question

HISTORY = (
    Message("user", "Who issues access tokens for the object store?"),
    Message("assistant", "They are issued by Keyhole, run by the `infra` group."),
)


@pytest.mark.parametrize(
    "question", ["How long are they valid?", "And for Windows?", "Why?", "What about backups?"]
)
def test_a_follow_up_is_searched_with_the_question_before_it(question: str) -> None:
    text = standalone_question(question, HISTORY)
    assert text.startswith(HISTORY[0].content)
    assert text.endswith(question)


def test_a_question_that_refers_back_brings_the_names_of_the_last_answer() -> None:
    text = standalone_question("Where does it run?", HISTORY)
    assert "Keyhole" in text
    assert "infra" in text


def test_a_full_question_is_left_alone() -> None:
    question = "Which colour does a visitor badge have in the office?"
    assert standalone_question(question, HISTORY) == question


def test_without_history_nothing_is_added() -> None:
    assert standalone_question("Why is it so?", ()) == "Why is it so?"


def test_follow_ups_of_follow_ups_reach_back_to_the_full_question() -> None:
    history = (
        *HISTORY,
        Message("user", "And how long are they valid?"),
        Message("assistant", "12 h."),
    )
    text = standalone_question("Why?", history)
    assert text.startswith(HISTORY[0].content)
