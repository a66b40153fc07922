from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_api import KEY, READER_KEY, RunningFake
from fake_platform import ANSWER, NO_ANSWER
from outcome import Command

PROGRAM = [sys.executable, "-c", "from serve_app.cli.main import main; main()"]


@pytest.fixture
def docs() -> Path:
    folder = Path("docs")
    folder.mkdir()
    for name in ("travel-rules.md", "office-hours.md"):
        (folder / name).write_text("# Rules\n")
    return folder


def test_ingest_makes_the_collection_and_waits_until_all_is_found(
    ragserve: Command, fake: RunningFake, docs: Path
) -> None:
    outcome = ragserve("ingest", "docs", "--collection", "team")
    assert outcome.code == 0
    assert "2 of 2 files in team, 24 passages" in outcome.err
    sources = [document["source"] for document in fake.platform.documents["team"].values()]
    assert sources == ["docs/office-hours.md", "docs/travel-rules.md"]


def test_one_bad_file_is_named_with_its_reason_and_fails_the_command(
    ragserve: Command, docs: Path
) -> None:
    (docs / "damaged.pdf").write_text("x")
    outcome = ragserve("ingest", "docs", "-c", "handbook")
    assert outcome.code == 1
    assert "2 of 3 files" in outcome.err
    assert "docs/damaged.pdf: The PDF ends in the middle of page 3; save it again." in outcome.err


def test_ingest_tells_programs_what_became_of_each_file(ragserve: Command, docs: Path) -> None:
    (docs / "damaged.pdf").write_text("x")
    outcome = ragserve("ingest", "docs", "-c", "handbook", "--json")
    assert outcome.json["done"] == 2
    assert [file["code"] for file in outcome.json["failed"]] == ["damaged_document"]


def test_many_files_become_several_jobs(
    ragserve: Command, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.cli.selection.BATCH_FILES", 1)
    outcome = ragserve("ingest", "docs", "-c", "handbook", "--json")
    assert [job["state"] for job in outcome.json["jobs"]] == ["COMPLETED", "COMPLETED"]
    assert outcome.json["done"] == 2


def test_ingest_need_not_wait(ragserve: Command, docs: Path) -> None:
    outcome = ragserve("ingest", "docs", "-c", "handbook", "--no-wait")
    assert (outcome.code, "Queued 2 files: job_0001" in outcome.err) == (0, True)


def test_a_full_queue_is_waited_for(ragserve: Command, fake: RunningFake, docs: Path) -> None:
    path = "/v1/collections/handbook/documents"
    fake.platform.failures += [(path, 503, {"Retry-After": "0"})] * 5
    assert ragserve("ingest", "docs", "-c", "handbook").code == 0


def test_a_bad_collection_name_is_wrong_usage(ragserve: Command, docs: Path) -> None:
    outcome = ragserve("ingest", "docs", "-c", "My Docs")
    assert outcome.code == 2
    assert "'My Docs' cannot name a collection" in outcome.err


def start(fake: RunningFake, *args: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "RAGSERVE_URL": fake.url, "RAGSERVE_API_KEY": KEY}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [*PROGRAM, *args],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A suite run in the background was told to ignore Ctrl-C, and its children with it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_ctrl_c_cancels_the_ingestion(fake: RunningFake, docs: Path) -> None:
    (docs / "endless.md").write_text("x")
    process = start(fake, "ingest", "docs", "-c", "handbook")
    deadline = time.monotonic() + 30
    while not any(job["state"] == "PROCESSING" for job in fake.platform.jobs.values()):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Cancelled; what was done stays" in err
    assert "Traceback" not in err
    assert fake.platform.jobs["job_0001"]["cancel_requested"]


def test_an_answer_is_printed_with_its_sources(ragserve: Command) -> None:
    outcome = ragserve("ask", "Who signs?")
    assert outcome.code == 0
    assert " ".join(outcome.out.split()).startswith(ANSWER)
    assert "[1] Travel handbook · p. 4 · Expenses > Who signs" in outcome.out
    assert "[2] Travel handbook · p. 5 · Expenses > Deadlines" in outcome.out
    assert "[3]" not in outcome.out


def test_an_answer_can_be_json(ragserve: Command, fake: RunningFake) -> None:
    outcome = ragserve("ask", "Who signs?", "--json", "--extract", "--top-k", "3")
    assert outcome.json["answer"] == ANSWER
    asked = fake.platform.questions[-1]
    assert (asked["answer"], asked["top_k"], asked["stream"]) == ("extract", 3, False)


def test_a_question_may_come_from_a_pipe(ragserve: Command, fake: RunningFake) -> None:
    assert ragserve("ask", stdin="Who signs?\n").code == 0
    assert fake.platform.questions[-1]["question"] == "Who signs?"
    assert ragserve("ask", stdin="").code == 2


def test_labels_say_when_an_answer_is_less_than_it_should_be(ragserve: Command) -> None:
    assert "degraded: rerank_skipped" in ragserve("ask", "degraded").err
    assert "from the cache" in ragserve("ask", "cached").err
    outcome = ragserve("ask", "unknown")
    assert NO_ANSWER in outcome.out
    assert "no answer in the documents" in outcome.err


def test_with_several_collections_one_must_be_named(ragserve: Command) -> None:
    ragserve("collections", "create", "other")
    outcome = ragserve("ask", "Who signs?")
    assert (outcome.code, "--collection: handbook, other" in outcome.err) == (2, True)
    assert ragserve("ask", "Who signs?", "-c", "handbook").code == 0


def test_search_shows_passages(ragserve: Command) -> None:
    outcome = ragserve("search", "signs", "-k", "1")
    assert "[1] Travel handbook" in outcome.out
    assert "signed by the head of the department" in " ".join(outcome.out.split())
    assert ragserve("search", "signs", "--json").json["passages"][2]["title"] == "Finance FAQ"


def test_jobs_are_listed_shown_watched_cancelled_and_resumed(ragserve: Command, docs: Path) -> None:
    (docs / "endless.md").write_text("x")
    ragserve("ingest", "docs", "-c", "handbook", "--no-wait")
    assert "will stop" in ragserve("jobs", "cancel", "job_0001").err
    assert ragserve("jobs", "watch", "job_0001").code == 1
    listed = ragserve("jobs", "list")
    assert "job_0001" in listed.out
    assert "CANCELLED" in listed.out
    assert ragserve("jobs", "resume", "job_0001").code == 0
    changes = ragserve("jobs", "watch", "job_0001", "--json").out.splitlines()
    assert len(changes) > 3
    shown = ragserve("jobs", "show", "job_0001")
    assert "docs/travel-rules.md" in shown.out
    assert "DONE" in shown.out
    assert ragserve("jobs", "resume", "job_0001").code == 1


def test_documents_are_listed_and_deleted(ragserve: Command) -> None:
    documents = ragserve("documents", "list", "--json").json
    assert "Travel handbook" in ragserve("documents", "list").out
    assert ragserve("documents", "delete", documents[0]["id"]).code == 0
    assert len(ragserve("documents", "list", "--json").json) == len(documents) - 1


def test_deleting_a_collection_is_asked_about(ragserve: Command, fake: RunningFake) -> None:
    assert ragserve("collections", "delete", "handbook", stdin="n\n").code == 130
    assert "handbook" in fake.platform.collections
    assert ragserve("collections", "delete", "handbook", "--yes").code == 0
    assert "handbook" not in fake.platform.collections


def test_each_failure_has_its_sentence_and_code(
    ragserve: Command, fake: RunningFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreachable = ragserve("collections", "list", "--url", "http://127.0.0.1:9")
    assert unreachable.code == 3
    assert "Start it with `ragserve up`" in unreachable.err
    wrong = ragserve("collections", "list", "--api-key", "wrong")
    assert (wrong.code, "Give a key with --api-key" in wrong.err) == (4, True)
    assert ragserve("collections", "create", "x", "--api-key", READER_KEY).code == 4
    missing = ragserve("ask", "Q", "-c", "nowhere")
    assert missing.code == 1
    assert "There is no collection 'nowhere' (request req_7f3a)." in missing.err
    often = ragserve("ask", "too often", "-c", "handbook", "--json")
    assert often.code == 1
    assert ragserve("nonsense").code == 2


def test_a_document_cannot_drive_the_terminal(ragserve: Command, fake: RunningFake) -> None:
    fake.platform.add_document("handbook", "\x1b]0;owned\x07[bold]x", "evil\x1b[2J.md", 1)
    out = ragserve("documents", "list").out
    assert "\x1b" not in out
    assert "[bold]x" in out


@pytest.mark.parametrize(
    "command",
    [
        *("ingest", "ask", "search", "jobs", "collections", "documents", "profile"),
        *("jobs list", "jobs show", "jobs watch", "jobs cancel", "jobs resume"),
        *("collections create", "collections delete", "documents list", "documents delete"),
    ],
)
def test_every_command_explains_itself(ragserve: Command, command: str) -> None:
    outcome = ragserve(*command.split(), "--help")
    assert outcome.code == 0
    assert "Usage:" in outcome.out


def test_the_command_line_starts_without_heavy_packages() -> None:
    code = (
        "import sys, serve_app.cli.main; "
        "heavy = {'ray', 'pymilvus', 'onnxruntime', 'llama_index', 'xllamacpp', 'fastapi'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert found.stdout.strip() == "[]"
