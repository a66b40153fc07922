"""A question that stands by itself, made from one that leans on the conversation.

Cheap on purpose: a model call to rewrite would double the time to the first token. A follow-up
("and on Windows?", "who maintains it?") is searched together with the question before it, and,
where it refers back, with the names in the last answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from deployments.contracts.generation import Message
from deployments.query.terms import terms

_REFERS_BACK = re.compile(
    r"\b(it|its|they|them|their|this|that|these|those|he|she|his|her|him|there|same|former|latter|"
    r"above|mentioned|ones?|another|else)\b",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r"^\s*(and|but|or|so|then|also|what about|how about|why\s*\?|how so|which one|more|ok|okay)\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"`([^`\n]{2,40})`|(?<![.!?:]\s)(?<!^)\b([A-Z][\w-]+(?:\s+[A-Z][\w-]+)*)")
SHORT_TERMS = 2
"""A question with no more content words than this says too little to be searched alone."""
MAX_NAMES = 4
MAX_TURNS_BACK = 3


def standalone_question(question: str, history: Sequence[Message]) -> str:
    """The text to search for: `question` itself unless it leans on what was said before."""
    asked = [turn.content for turn in history if turn.role == "user"]
    if not asked or not leans_on_history(question):
        return question
    context: list[str] = []
    for earlier in reversed(asked[-MAX_TURNS_BACK:]):
        context.insert(0, earlier)
        if not leans_on_history(earlier):
            break
    if _REFERS_BACK.search(question):
        context.extend(_names(history, known=" ".join([*context, question])))
    return " ".join([*context, question])


def leans_on_history(question: str) -> bool:
    """Whether the question says too little, goes on from, or points at, what came before."""
    short = len(set(terms(question))) <= SHORT_TERMS
    return bool(short or _GOES_ON.search(question) or _REFERS_BACK.search(question))


def _names(history: Sequence[Message], known: str) -> list[str]:
    answers = [turn.content for turn in history if turn.role == "assistant"]
    if not answers:
        return []
    found = (code or name for code, name in _NAME.findall(answers[-1]))
    return [name for name in dict.fromkeys(found) if name.lower() not in known.lower()][:MAX_NAMES]
