"""The questions of an evaluation: one JSON object a line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

_Text = Annotated[str, StringConstraints(min_length=1, max_length=8000)]


class Expectation(BaseModel):
    """A question and what should be found for it, if that is known.

    `documents` are ids, sources or titles; `passages` are stretches of text (white space and case
    aside) that a right passage holds. Each is a thing to find.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: _Text
    documents: Annotated[list[_Text], Field(max_length=100)] = []
    passages: Annotated[list[_Text], Field(max_length=100)] = []

    @property
    def things(self) -> int:
        """How many things there are to find."""
        return len(self.documents) + len(self.passages)


def read(path: Path) -> list[Expectation]:
    """The questions of a JSONL file; blank lines are left out.

    Raises:
        ValueError: a line is no question, named by its number; or there is none.
        OSError: the file cannot be read.
    """
    found = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found.append(Expectation.model_validate_json(line))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(
                f"line {number}: {where + ': ' if where else ''}{first['msg']}"
            ) from None
    if not found:
        raise ValueError("there is no question in it")
    return found
