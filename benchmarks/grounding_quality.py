"""Is a question refused when, and only when, its answer is not in the documents?

Real questions with their real answers (Debian's perl-doc, python3.11-doc and debian-faq, fetched
with `apt-get download`, never committed) give both kinds: as they are, each question is
answerable; with its own answer taken out of the corpus it is not. Everyday questions that no
such manual answers are the off-topic kind. The constants of `deployments/query/relevance.py` are
fitted on one half of the questions (by a hash of their text) and reported on the other.

    python benchmarks/grounding_quality.py /tmp/faq           # downloads, embeds, fits, reports
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bs4 import BeautifulSoup

PACKAGES = ("perl-doc", "python3.11-doc", "debian-faq")
CHUNK_CHARS = 900


@dataclass(frozen=True)
class Question:
    """A question and the pieces of its answer."""

    text: str
    source: str
    chunks: tuple[str, ...]

    @property
    def held_out(self) -> bool:
        return hashlib.sha256(self.text.encode()).digest()[0] % 2 == 1


def fetch(folder: Path) -> Path:
    """Download and unpack the packages once."""
    root = folder / "root"
    if not root.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", *PACKAGES], cwd=folder, check=True)
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(package), str(root)], check=True)
    return root


def read_questions(root: Path) -> list[Question]:
    """Every question of the three FAQs with its answer, cut into chunks."""
    found: list[Question] = []
    for path in sorted(root.glob("usr/share/perl/*/pod/perlfaq[1-9].pod")):
        parts = re.split(r"^=head2 (.+)$", path.read_text("utf-8", "replace"), flags=re.MULTILINE)
        found += _pairs("perl", parts, _plain_pod)
    for path in sorted(root.glob("usr/share/doc/python3.11/html/_sources/faq/*.rst.txt")):
        parts = re.split(r"^(.+\?)\n-{3,}$", path.read_text("utf-8"), flags=re.MULTILINE)
        found += _pairs("python", parts, _rst_answer)
    for path in sorted(root.glob("usr/share/doc/debian/FAQ/*.en.html")):
        page = BeautifulSoup(path.read_text("utf-8"), "html.parser")
        for section in page.find_all("div", class_="section"):
            title = re.sub(r"^[\d.\s]+", "", section.find(["h2", "h3", "h4"]).get_text(" ", strip=True))
            if title.endswith("?"):
                section.find("div", class_="titlepage").extract()
                body = "\n\n".join(
                    re.sub(r"\s+", " ", item.get_text()).strip()
                    for item in section.find_all(["p", "pre"])
                )
                found += _pairs("debian", ["", title, body], str)
    return found


def _pairs(source: str, parts: list[str], plain: object) -> list[Question]:
    return [
        Question(re.sub(r"\s+", " ", title).strip(), source, chunks)
        for title, body in zip(parts[1::2], parts[2::2], strict=False)
        if (chunks := tuple(chunked(plain(body))))  # type: ignore[operator]
    ]


def _plain_pod(body: str) -> str:
    body = re.split(r"^=head1", body, flags=re.MULTILINE)[0]
    body = re.sub(r"^=(over|back|item|for|begin|end|cut|encoding).*$", "", body, flags=re.MULTILINE)
    body = re.sub(r"X<[^>]*>", "", body)
    body = re.sub(r"L<(?:([^|>]*)\|)?([^>]*)>", lambda m: m[1] or m[2], body)
    return re.sub(r"[A-Z]<+ ?([^<>]*) ?>+", r"\1", body)


def _rst_answer(body: str) -> str:
    return _plain_rst(re.split(r"^.+\n={3,}$", body, flags=re.MULTILINE)[0])


def _plain_rst(body: str) -> str:
    body = re.sub(r"^\.\. .*$", "", body, flags=re.MULTILINE)
    body = re.sub(r":[a-z:]+:`([^`<]*)(?: <[^>]*>)?`", r"\1", body)
    return re.sub(r"`([^`<]*) <[^>]*>`_+", r"\1", body).replace("``", "`").replace("::", ":")


def chunked(text: str) -> list[str]:
    """Paragraphs packed into pieces of at most CHUNK_CHARS where they allow it."""
    pieces: list[str] = []
    current = ""
    for paragraph in re.split(r"\n\s*\n", text):
        if current and len(current) + len(paragraph) > CHUNK_CHARS:
            pieces.append(current.strip())
            current = ""
        current += paragraph.rstrip() + "\n\n"
    return [piece for piece in [*pieces, current.strip()] if len(piece) > 40]


def read_distractors(root: Path, limit: int) -> list[str]:
    """Chunks of the Python documentation outside its FAQ."""
    chunks: list[str] = []
    for path in sorted(root.glob("usr/share/doc/python3.11/html/_sources/[hlt]*/*.rst.txt")):
        chunks += chunked(_plain_rst(path.read_text("utf-8")))
    return chunks[:: max(1, len(chunks) // limit)]


if __name__ == "__main__":
    root = fetch(Path(sys.argv[1]))
    questions = read_questions(root)
    print(len(questions), sum(len(q.chunks) for q in questions))
