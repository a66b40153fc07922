"""What commands print: people get tables and colour, programs get JSON on standard output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from serve_app.schemas import PassageOut

# What a document says is printed as it is: no markup, no emoji names, no links made of it.
_PLAIN = {"markup": False, "emoji": False, "highlight": False}


def console() -> Console:
    """Standard output, for results."""
    return Console(**_PLAIN, soft_wrap=False)  # type: ignore[arg-type]


def messages() -> Console:
    """Standard error, for progress and remarks: results stay clean in a pipe."""
    return Console(stderr=True, **_PLAIN)  # type: ignore[arg-type]


def print_json(value: BaseModel | Sequence[BaseModel] | dict[str, Any]) -> None:
    """Print one JSON value, whole and uncoloured."""
    if isinstance(value, BaseModel):
        print(value.model_dump_json(indent=2))
    elif isinstance(value, dict):
        print(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        items = [item.model_dump(mode="json") for item in value]
        print(json.dumps(items, indent=2, ensure_ascii=False))


def table(*columns: str, right: Sequence[str] = ()) -> Table:
    """An open table; the columns named in `right` hold numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def place(title: str, page: int | None, heading: str) -> str:
    """Where in the documents something stands: title, page, heading."""
    parts = [title, f"p. {page}" if page is not None else "", heading]
    return " · ".join(part for part in parts if part)


def passage_lines(passage: PassageOut) -> Text:
    """A passage with its number and place."""
    text = Text(f"[{passage.number}] ", style="bold cyan")
    text.append(place(passage.title, passage.page, passage.heading), style="bold")
    text.append(f"  {passage.score:.3f}\n", style="dim")
    text.append(safe(passage.text.strip()))
    return text


def safe(text: str) -> str:
    """`text` without control characters: a document must not drive the reader's terminal."""
    return "".join(c for c in text if c in "\n\t" or (ord(c) >= 32 and not 127 <= ord(c) < 160))


def size(count_bytes: float) -> str:
    """Bytes for people, in powers of 1000."""
    for unit in ("B", "kB", "MB"):
        if count_bytes < 1000:
            return f"{count_bytes:.0f} {unit}" if unit == "B" else f"{count_bytes:.1f} {unit}"
        count_bytes /= 1000
    return f"{count_bytes:.1f} GB"


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
