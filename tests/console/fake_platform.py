"""What the fake API knows: canned passages and answers, and jobs that really progress."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ENDED = ("COMPLETED", "FAILED", "CANCELLED")

PASSAGES = [
    (
        "Travel handbook",
        "handbook/travel.md",
        "Expenses > Who signs",
        4,
        "🧾 Trips are paid by the team that asks for them. Travel expenses above 500 euros are "
        "signed by the head of the department before the trip is booked. Below that sum the "
        "team lead signs, and the receipt is enough.",
        "Travel expenses above 500 euros are signed by the head of the department",
    ),
    (
        "Travel handbook",
        "handbook/travel.md",
        "Expenses > Deadlines",
        5,
        "Receipts are handed in within 30 days of the end of the trip. What comes later is paid "
        "only when the finance office agrees.\u2028It rarely does.",
        "Receipts are handed in within 30 days of the end of the trip",
    ),
    (
        "Finance FAQ",
        "finance/faq.pdf",
        "Reimbursement",
        12,
        "Reimbursements reach the account of the traveller within two weeks of approval, in the "
        "currency of the salary.",
        "within two weeks of approval",
    ),
]
ANSWER = (
    "The head of the department signs travel expenses above 500 euros; below that, the team lead "
    "does [1]. Receipts are due within 30 days of the end of the trip [2]."
)
NO_ANSWER = "The documents in this collection do not answer this question."


@dataclass
class FakePlatform:
    """What the server knows, and what tests set and look at."""

    step_s: float = 0.02
    collections: dict[str, dict[str, Any]] = field(default_factory=dict)
    documents: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    questions: list[dict[str, Any]] = field(default_factory=list)
    failures: list[tuple[str, int, dict[str, str]]] = field(default_factory=list)
    drop_events_after: int = 0
    stopped_streams: int = 0
    unready: str = ""
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]
        self.add_collection("handbook", "How we work")
        for title, source, *_ in PASSAGES:
            self.add_document("handbook", title, source, 48_213)

    def add_collection(self, name: str, description: str = "") -> dict[str, Any]:
        self.collections[name] = {
            "name": name,
            "description": description,
            "embedding_model": "all-MiniLM-L6-v2",
            "dimension": 384,
            "created_at": time.time(),
        }
        self.documents[name] = {}
        return self.collection(name)

    def collection(self, name: str) -> dict[str, Any]:
        documents = self.documents[name].values()
        chunks = sum(document["chunks"] for document in documents)
        return {**self.collections[name], "documents": len(documents), "chunks": chunks}

    def add_document(self, collection: str, title: str, source: str, size: int) -> None:
        document_id = hashlib.sha256(source.encode()).hexdigest()[:16]
        self.documents[collection][document_id] = {
            "id": document_id,
            "title": title,
            "source": source,
            "content_type": "text/markdown",
            "content_hash": "0" * 64,
            "size_bytes": size,
            "chunks": 12,
            "ingested_at": time.time(),
            "metadata": {},
        }

    def submit(self, collection: str, names: list[tuple[str, int]]) -> dict[str, Any]:
        job_id = f"job_{len(self.jobs) + 1:04d}"
        files = [
            {
                "number": number,
                "document_id": f"d{number}",
                "name": name,
                "state": "PENDING",
                "size_bytes": size,
                "chunks_done": 0,
                "chunks_total": 0,
                "error_code": None,
                "error_message": None,
            }
            for number, (name, size) in enumerate(names)
        ]
        self.jobs[job_id] = {
            "id": job_id,
            "collection": collection,
            "state": "PENDING",
            "cancel_requested": False,
            "error_code": None,
            "error_message": None,
            "created_at": time.time(),
            "started_at": None,
            "ended_at": None,
            "transitions": [],
            "files": files,
        }
        self.events[job_id] = []
        self.start(job_id)
        return self.job(job_id)

    def start(self, job_id: str) -> None:
        self.move(job_id, "PENDING")
        task = asyncio.get_running_loop().create_task(self.work(job_id))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def job(self, job_id: str) -> dict[str, Any]:
        job = self.jobs[job_id]
        files = job["files"]
        done = [file for file in files if file["state"] in ("DONE", "UNCHANGED")]
        progress = {
            "files_total": len(files),
            "files_done": len(done),
            "files_unchanged": 0,
            "files_failed": sum(file["state"] == "FAILED" for file in files),
            "chunks_done": sum(file["chunks_done"] for file in files),
            "chunks_total": sum(file["chunks_total"] for file in files),
            "bytes_total": sum(file["size_bytes"] for file in files),
            "bytes_done": sum(file["size_bytes"] for file in done),
            "chunks_per_s": 42.0 if job["state"] == "PROCESSING" else None,
            "eta_s": 3.0 if job["state"] == "PROCESSING" else None,
        }
        return json.loads(json.dumps({**job, "progress": progress}))  # type: ignore[no-any-return]

    def move(self, job_id: str, state: str) -> None:
        job = self.jobs[job_id]
        job["state"] = state
        job["transitions"].append({"state": state, "at": time.time()})
        if state == "PROCESSING":
            job["started_at"] = time.time()
        if state in ENDED:
            job["ended_at"] = time.time()
        self.note(job_id)

    def note(self, job_id: str) -> None:
        self.events[job_id].append(self.job(job_id))

    async def work(self, job_id: str) -> None:
        """Files called *damaged* fail, *endless* ones never end, all others take 4 steps."""
        job = self.jobs[job_id]
        await asyncio.sleep(self.step_s)
        self.move(job_id, "PROCESSING")
        for file in job["files"]:
            if file["state"] == "DONE":
                continue
            file.update(state="PROCESSING", chunks_total=12)
            step = 0
            while step < 4 or "endless" in file["name"]:
                await asyncio.sleep(self.step_s)
                if job["cancel_requested"]:
                    for other in job["files"]:
                        if other["state"] in ("PENDING", "PROCESSING"):
                            other["state"] = "CANCELLED"
                    self.move(job_id, "CANCELLED")
                    return
                step += 1
                file["chunks_done"] = min(12, step * 3)
                self.note(job_id)
            if "damaged" in file["name"]:
                file.update(
                    state="FAILED",
                    error_code="damaged_document",
                    error_message="The PDF ends in the middle of page 3; save it again.",
                )
            else:
                file["state"] = "DONE"
                title = Path(file["name"]).stem.replace("-", " ").capitalize()
                self.add_document(job["collection"], title, file["name"], file["size_bytes"])
            self.note(job_id)
        self.move(job_id, "COMPLETED")

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        """The finished answer. `unknown` has none, `degraded` and `cached` are labelled so."""
        question = body["question"]
        answered = "unknown" not in question
        answer = ANSWER if answered else NO_ANSWER
        if "long" in question:
            answer = " ".join([ANSWER] * 20)
        found = passages() if answered else []
        citations = (
            [
                {
                    "passage": number,
                    "document_id": passage["document_id"],
                    "title": passage["title"],
                    "page": passage["page"],
                    "heading": passage["heading"],
                    "start": answer.index(sentence),
                    "end": answer.index(sentence) + len(sentence),
                    "quote_start": passage["text"].index(quote),
                    "quote_end": passage["text"].index(quote) + len(quote),
                    "score": 0.83,
                    "origin": "model",
                }
                for number, (passage, sentence, quote) in enumerate(
                    zip(
                        found[:2],
                        [ANSWER[:106], ANSWER[107:]],
                        [PASSAGES[0][5], PASSAGES[1][5]],
                        strict=True,
                    ),
                    1,
                )
            ]
            if answered
            else []
        )
        return {
            "answer": answer,
            "answered": answered,
            "citations": citations,
            "grounding": [],
            "grounding_score": 0.83 if answered else 0.0,
            "passages": found,
            "usage": {"prompt_tokens": 412, "completion_tokens": 37},
            "timings_ms": {
                "queue": 0.4,
                "embed": 7.1,
                "search": 11.8,
                "rerank": 24.5,
                "select": 4.2,
                "first_token": 182.0,
                "generate": 611.0,
                "ground": 31.0,
                "total": 702.0,
            },
            "degraded": ["rerank_skipped"] if "degraded" in question else [],
            "cached": "cached" in question,
            "model": "smollm2-135m-instruct",
            "finish_reason": "stop",
            "request_id": "req_7f3a",
        }


def passages() -> list[dict[str, Any]]:
    return [
        {
            "number": number,
            "document_id": hashlib.sha256(source.encode()).hexdigest()[:16],
            "title": title,
            "source": source,
            "heading": heading,
            "page": page,
            "start_char": 0,
            "end_char": len(text),
            "text": text,
            "score": round(0.91 - number * 0.12, 3),
            "dense_score": round(0.78 - number * 0.1, 3),
            "lexical_score": round(9.4 - number * 1.7, 3),
            "rerank_score": round(0.97 - number * 0.2, 3) if number < 3 else None,
            "metadata": {},
        }
        for number, (title, source, heading, page, text, _) in enumerate(PASSAGES, 1)
    ]
