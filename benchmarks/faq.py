"""Real questions with their real answers, among manuals that speak of the same things.

Debian's documentation packages hold three FAQs: Perl's, Python's and Debian's own. A question is
a heading; what is to be found is the text below it, which goes into the corpus as a document of
its own without that heading. The other documents are pages of manuals on neighbouring subjects.
Nothing of it is committed: the packages are fetched when needed.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bs4 import BeautifulSoup

FAQS = ("perl-doc", "python3.11-doc", "debian-faq")
MANUALS = ("debian-policy", "debian-handbook", "postgresql-doc-15")
_PYTHON_PARTS = "library howto tutorial reference using extending c-api distutils installing"
_PAGES = {
    "python": [f"python3.11/html/{part}/*.html" for part in _PYTHON_PARTS.split()],
    "handbook": ["debian-handbook/html/en-US/*.html"],
    "policy": ["debian-policy/*.html"],
    "postgresql": ["postgresql-doc-15/html/*.html"],
}
_LEAST_CHARS = 40
"""A shorter answer ("Yes.") is none that could be found."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question, the text that answers it, and the title of the page on which they stand."""

    text: str
    source: str
    title: str
    answer: str


def fetch(folder: Path, packages: Sequence[str] = FAQS) -> Path:
    """Download and unpack the packages once."""
    root = folder / "root"
    for package in packages:
        if list(folder.glob(f"{package}_*.deb")):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "-qq", "download", package], cwd=folder, check=True)
        archive = next(folder.glob(f"{package}_*.deb"))
        subprocess.run(["dpkg-deb", "-x", str(archive), str(root)], check=True)
    return root


def is_held_out(text: str) -> bool:
    """Whether a question is kept for the report, by a hash of its text."""
    return hashlib.sha256(text.encode()).digest()[0] % 2 == 1


def read_questions(root: Path) -> list[Question]:
    """Every question of the three FAQs with its answer, each question once."""
    found = [*_perl(root), *_python(root), *_debian(root)]
    return list({question.text: question for question in reversed(found)}.values())[::-1]


def manual_pages(root: Path) -> dict[str, list[Path]]:
    """Pages of the manuals, in an order that mixes subjects and is the same every time."""
    return {
        name: sorted(
            (
                page
                for pattern in patterns
                for page in root.glob(f"usr/share/doc/{pattern}")
                if not page.is_symlink()
            ),
            key=lambda page: hashlib.sha256(page.name.encode()).digest(),
        )
        for name, patterns in _PAGES.items()
    }


def _perl(root: Path) -> Iterator[Question]:
    for path in sorted(root.glob("usr/share/perl/*/pod/perlfaq[1-9].pod")):
        text = path.read_text("utf-8", "replace")
        name = re.search(r"^=head1 NAME\n\n(.+)$", text, flags=re.MULTILINE)
        parts = re.split(r"^=head2 (.+)$", text, flags=re.MULTILINE)
        yield from _pairs("perl", name[1] if name else path.stem, parts, _plain_pod)


def _python(root: Path) -> Iterator[Question]:
    for path in sorted(root.glob("usr/share/doc/python3.11/html/_sources/faq/*.rst.txt")):
        text = path.read_text("utf-8")
        title = re.search(r"^(\S.*)\n={3,}$", text, flags=re.MULTILINE)
        parts = re.split(r"^(.+\?)\n-{3,}$", text, flags=re.MULTILINE)
        yield from _pairs("python", title[1] if title else path.stem, parts, _rst_answer)


def _debian(root: Path) -> Iterator[Question]:
    for path in sorted(root.glob("usr/share/doc/debian/FAQ/*.en.html")):
        page = BeautifulSoup(path.read_text("utf-8"), "html.parser")
        head = page.find("title")
        name = head.get_text(" ", strip=True) if head else path.stem
        for section in page.find_all("div", class_="section"):
            heading = section.find("div", class_="titlepage")
            if heading is None:
                continue
            title = heading.extract().get_text(" ", strip=True)
            body = "\n\n".join(
                re.sub(r"\s+", " ", item.get_text()).strip()
                for item in section.find_all(["p", "pre"])
            )
            yield from _pairs("debian", name, ["", re.sub(r"^[\d.\s]+", "", title), body], str)


def _pairs(
    source: str, title: str, parts: list[str], plain: Callable[[str], str]
) -> Iterator[Question]:
    for heading, body in zip(parts[1::2], parts[2::2], strict=False):
        text = re.sub(r"\s+", " ", plain(heading)).strip()
        answer = plain(body).strip()
        if text.endswith("?") and len(answer) > _LEAST_CHARS:
            yield Question(text, source, title, answer)


def _plain_pod(body: str) -> str:
    """Perl's POD without its commands and formatting codes, up to the next part."""
    body = re.split(r"^=head1", body, flags=re.MULTILINE)[0]
    body = re.sub(r"^=(over|back|item|for|begin|end|cut|encoding).*$", "", body, flags=re.MULTILINE)
    body = re.sub(r"X<[^>]*>", "", body)
    body = re.sub(r"L<(?:([^|>]*)\|)?([^>]*)>", lambda m: m[1] or m[2], body)
    return re.sub(r"[A-Z]<+ ?([^<>]*) ?>+", r"\1", body)


def _rst_answer(body: str) -> str:
    return plain_rst(re.split(r"^.+\n={3,}$", body, flags=re.MULTILINE)[0])


def plain_rst(body: str) -> str:
    """Text of reStructuredText without its roles, directives and targets."""
    body = re.sub(r"^\.\. .*$", "", body, flags=re.MULTILINE)
    body = re.sub(r":[a-z:]+:`([^`<]*)(?: <[^>]*>)?`", r"\1", body)
    return re.sub(r"`([^`<]*) <[^>]*>`_+", r"\1", body).replace("``", "`").replace("::", ":")
