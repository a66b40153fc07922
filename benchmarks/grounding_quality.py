"""Is a question refused when, and only when, its answer is not in the documents?

Real questions with their real answers (Debian's perl-doc, python3.11-doc and debian-faq, fetched
with `apt-get download`, never committed) give both kinds: as they are, each question is
answerable; with its own answer taken out of the corpus it is not. Everyday questions that no
such manual answers are the off-topic kind. The constants of `deployments/query/relevance.py` are
fitted on one half of the questions (by a hash of their text) and reported on the other.

    python -m benchmarks.grounding_quality /tmp/faq           # downloads, embeds, fits, reports
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.faq import Question, fetch, is_held_out, plain_rst, read_questions
from deployments.contracts.embedding import Embedder
from deployments.contracts.engines import EngineSpec
from deployments.contracts.retrieval import Chunk, Collection, Document, SearchRequest
from deployments.query.evidence import SentenceVectors, compare, weigh
from deployments.query.relevance import Signals, observe
from deployments.query.settings import QuerySettings
from deployments.retrieval.memory import MemoryStore

CHUNK_CHARS = 900
DISTRACTORS = 1800
KEPT = {False: 0.98, True: 0.95}
"""The share of found answers that the threshold lets through: with vectors, by words alone."""
NEAR_MISS_WEIGHT = 0.25
"""A question whose own answer was removed is often answered by another text: it counts less."""

SETTINGS = QuerySettings()
FloatArray = NDArray[np.float64]


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
        chunks += chunked(plain_rst(path.read_text("utf-8")))
    return chunks[:: max(1, len(chunks) // limit)]


@dataclass(frozen=True)
class Observation:
    """One search: what was seen, and whether the answer was there to be found."""

    question: str
    kind: str
    held_out: bool
    found: bool
    signals: tuple[float, ...]
    lexical_signals: tuple[float, ...]

    @property
    def answerable(self) -> bool:
        return self.kind == "answerable"


async def observe_all(
    embedder: Embedder, questions: list[Question], distractors: list[str], off_topic: list[str]
) -> list[Observation]:
    """Search for every question with its answer in the corpus, and with it hidden."""
    store = MemoryStore()
    model = await embedder.model()
    await store.create_collection(Collection("faq", model))
    for number, chunks in enumerate([*(chunked(q.answer) for q in questions), distractors], 1):
        made = [
            Chunk(
                f"{number}-{i}", i, text, Document(str(number), "", "", "", "", 1, 1, 0.0, number)
            )
            for i, text in enumerate(chunks)
        ]
        await store.upsert("faq", made, await embedder.embed(chunks))
    sentences = SentenceVectors(embedder, keep=200_000)
    seen: list[Observation] = []

    async def look(text: str, kind: str, *, held_out: bool, own: int, hidden: int) -> None:
        vector = (await embedder.embed([text]))[0]
        request = SearchRequest(
            "faq", text, vector, limit=SETTINGS.top_k, hidden_versions=frozenset({hidden})
        )
        passages = await store.search(request)
        evidence = weigh(text, passages, SETTINGS.max_sentences)
        lexical = astuple(observe(evidence))
        vectors = await sentences.of([sentence.in_context for sentence in evidence.sentences])
        compared = astuple(observe(compare(evidence, vectors, vector)))
        found = any(passage.chunk.document.version == own for passage in passages)
        seen.append(Observation(text, kind, held_out, found, compared, lexical))

    for number, question in enumerate(questions, 1):
        held_out = is_held_out(question.text)
        await look(question.text, "answerable", held_out=held_out, own=number, hidden=0)
        await look(question.text, "answer removed", held_out=held_out, own=number, hidden=number)
    for text in off_topic:
        await look(text, "off topic", held_out=is_held_out(text), own=0, hidden=0)
    return seen


def fit(
    rows: FloatArray, labels: FloatArray, weights: FloatArray, ridge: float = 1.0
) -> FloatArray:
    """Logistic regression by Newton's method; the last coefficient is the bias."""
    design = np.hstack([rows, np.ones((len(rows), 1))])
    penalty = np.diag([ridge] * rows.shape[1] + [0.0])
    coefficients = np.zeros(design.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-design @ coefficients))
        gradient = design.T @ (weights * (chance - labels)) + penalty @ coefficients
        curvature = design.T @ (design * (weights * chance * (1 - chance))[:, None]) + penalty
        coefficients -= np.linalg.solve(curvature, gradient)
    return coefficients


def report(name: str, seen: list[Observation], lexical: bool) -> None:
    """Fit on the questions not held out, print the constants and what they do on the others."""
    rows = np.array([o.lexical_signals if lexical else o.signals for o in seen])
    labels = np.array([float(o.found) for o in seen])
    held_out = np.array([o.held_out for o in seen])
    used = ~held_out & ~np.array([o.answerable and not o.found for o in seen])
    kinds = np.array([o.kind for o in seen])
    off = (kinds == "off topic") & used
    balance = np.ones(len(seen))
    balance[kinds == "answer removed"] = NEAR_MISS_WEIGHT
    balance[kinds == "off topic"] = (kinds == "answerable").sum() / (kinds == "off topic").sum()
    coefficients = fit(rows[used], labels[used], balance[used])
    chance = 1 / (1 + np.exp(-(rows @ coefficients[:-1] + coefficients[-1])))
    threshold = float(np.quantile(chance[used & (labels == 1)], 1 - KEPT[lexical]))
    print(f"\n{name}: fitted on {used.sum()} searches, {off.sum()} of them off topic")
    for field, weight in zip(fields(Signals), coefficients, strict=False):
        print(f"  {field.name:20} {weight:8.3f}")
    print(f"  {'bias':20} {coefficients[-1]:8.3f}\n  {'threshold':20} {threshold:8.3f}")
    answered = chance >= threshold
    for half, mask in (("fitted on", ~held_out), ("held out", held_out)):
        print(f"  {half}:")
        for kind in ("answerable", "answer removed", "off topic"):
            rows_of = mask & (kinds == kind)
            print(f"    {kind:16} answered {answered[rows_of].mean():6.1%} of {rows_of.sum()}")
        found = mask & (kinds == "answerable") & (labels == 1)
        refused = mask & ~answered
        for kind in ("off topic", "answer removed"):
            truly = (refused & (kinds == kind)).sum()
            wrongly = (refused & found).sum()
            recall = truly / (mask & (kinds == kind)).sum()
            print(
                f"    refusal, {kind:15} precision {truly / max(1, truly + wrongly):6.1%}, "
                f"recall {recall:6.1%}"
            )
        pairs_auc = _auc(chance[found], chance[mask & (kinds == "answer removed")])
        print(f"    area under the curve, found against removed: {pairs_auc:.3f}")


def _auc(positive: FloatArray, negative: FloatArray) -> float:
    return float((positive[:, None] > negative[None, :]).mean())


def main() -> None:
    """Fetch, observe once, then fit and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the packages and signals are kept")
    parser.add_argument("--embedder", default="deployments.embedding.onnx:OnnxEmbedder")
    arguments = parser.parse_args()
    kept = arguments.folder / "signals.json"
    if kept.exists():
        seen = [Observation(**row) for row in json.loads(kept.read_text())]
    else:
        root = fetch(arguments.folder)
        off_topic = json.loads(Path(__file__).with_name("off_topic.json").read_text())
        seen = asyncio.run(
            observe_all(
                EngineSpec(arguments.embedder).load(),
                read_questions(root),
                read_distractors(root, DISTRACTORS),
                off_topic,
            )
        )
        kept.write_text(json.dumps([asdict(row) for row in seen]))
    report("with vectors", seen, lexical=False)
    report("words alone", seen, lexical=True)


if __name__ == "__main__":
    main()
