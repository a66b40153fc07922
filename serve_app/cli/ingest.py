"""`ragserve ingest`: files to a collection, and the wait until they can be found."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import typer
from rich.console import Console

from serve_app.cli import collections
from serve_app.cli.connection import JsonOption, KeyOption, ProfileOption, UrlOption, connect
from serve_app.cli.failures import FAILED
from serve_app.cli.job_progress import follow, job_bar, upload_bar
from serve_app.cli.output import messages, print_json, safe, size
from serve_app.cli.selection import batches, select
from serve_app.client import ApiError, Ragserve, RetryPolicy, Upload, UploadProgress
from serve_app.schemas import FileOut, JobOut, SourceDocuments

# A long ingestion fills the server's queue and is told to wait: it has the patience.
PATIENT = RetryPolicy(attempts=20, longest_retry_after_s=120.0)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(ingest)


def ingest(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Files, folders, globs like 'docs/**/*.md', or URLs for the server to fetch.",
        ),
    ],
    *,
    collection: Annotated[
        str, typer.Option("--collection", "-c", help="Where to; made if it is missing.")
    ] = "default",
    include: Annotated[
        list[str] | None,
        typer.Option(
            help="Take only files matching this in folders; may be repeated.", show_default=False
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Leave out files matching this; may be repeated.", show_default=False),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until all can be found.")
    ] = True,
    as_json: JsonOption = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    profile: ProfileOption = None,
) -> None:
    """Ingest documents. A file sent again replaces itself; one unchanged costs nothing."""
    urls = [path for path in paths if "://" in path]
    local = [path for path in paths if path not in urls]
    uploads = select(local, include or (), exclude or ()) if local else []
    with connect(url, api_key, profile, retry=PATIENT) as client:
        collections.ensure(client, collection)
        run = Ingestion(client, collection, messages())
        try:
            run.send(uploads)
            run.name(urls)
            jobs = run.follow() if wait else run.jobs
        except KeyboardInterrupt:
            run.interrupted()
            raise
    if as_json:
        print_json(summary(collection, jobs))
    elif wait:
        _report(collection, jobs, messages())
    else:
        files = sum(job.progress.files_total for job in jobs)
        messages().print(f"Queued {files} files: {', '.join(job.id for job in jobs)}")
    if any(_failed(job) for job in jobs):
        raise typer.Exit(FAILED)


@dataclass
class Ingestion:
    """The jobs of one run of the command."""

    client: Ragserve
    collection: str
    notes: Console
    jobs: list[JobOut] = field(default_factory=list)

    def name(self, urls: Sequence[str]) -> None:
        """Have the server fetch what is at the URLs, as one job."""
        if urls:
            sources = SourceDocuments(sources=list(urls))
            self.jobs.append(self.client.add_sources(self.collection, sources))

    def send(self, uploads: Sequence[Upload]) -> None:
        """Send the files in batches, a job each."""
        if not uploads:
            return
        sent_bytes = 0
        groups = list(batches(uploads))
        with upload_bar(self.notes) as bar:
            task = bar.add_task(f"Sending {len(uploads)} files", total=_bytes(uploads))

            def show(progress: UploadProgress) -> None:
                bar.update(task, completed=sent_bytes + progress.bytes_sent)

            for group in groups:
                self.jobs.append(self.client.upload(self.collection, group, on_progress=show))
                sent_bytes += self.jobs[-1].progress.bytes_total

    def follow(self) -> list[JobOut]:
        """Wait for all jobs, with a bar."""
        with job_bar(self.notes) as bar:
            return follow(self.client, [job.id for job in self.jobs], bar)

    def interrupted(self) -> None:
        """Cancel the jobs; at a terminal, only if the person says so."""
        if not self.jobs:
            return
        ids = " ".join(job.id for job in self.jobs)
        if sys.stdin.isatty():
            try:
                stop = typer.confirm("\nCancel the ingestion?", default=True, err=True)
            except typer.Abort:
                stop = False
            if not stop:
                self.notes.print(f"It goes on without you; see `ragserve jobs list` ({ids}).")
                return
        for job in self.jobs:
            # One that ended meanwhile cannot be cancelled, and need not be.
            with contextlib.suppress(ApiError):
                self.client.cancel_job(job.id)
        self.notes.print("Cancelled; what was done stays. Go on with `ragserve jobs resume JOB`.")


def summary(collection: str, jobs: Sequence[JobOut]) -> dict[str, object]:
    """What became of each file, for programs."""
    return {
        "collection": collection,
        "jobs": [{"id": job.id, "state": job.state} for job in jobs],
        "files": sum(job.progress.files_total for job in jobs),
        "done": sum(job.progress.files_done for job in jobs),
        "unchanged": sum(job.progress.files_unchanged for job in jobs),
        "passages": sum(job.progress.chunks_done for job in jobs),
        "failed": [
            {"name": file.name, "code": file.error_code, "reason": file.error_message}
            for file in _bad_files(jobs)
        ],
    }


def _report(collection: str, jobs: Sequence[JobOut], notes: Console) -> None:
    counts = summary(collection, jobs)
    read_bytes = sum(job.progress.bytes_done for job in jobs)
    unchanged = f" ({counts['unchanged']} unchanged)" if counts["unchanged"] else ""
    notes.print(
        f"{counts['done']} of {counts['files']} files in {collection}{unchanged}, "
        f"{counts['passages']} passages, {size(read_bytes)}."
    )
    for job in jobs:
        if job.state != "COMPLETED":
            reason = f": {safe(job.error_message)}" if job.error_message else ""
            notes.print(f"{job.id} is {job.state}{reason}", style="red")
    for file in _bad_files(jobs):
        reason = safe(file.error_message or file.error_code or "no reason was given")
        notes.print(f"  {safe(file.name)}: {reason}", style="red")


def _bad_files(jobs: Sequence[JobOut]) -> list[FileOut]:
    return [file for job in jobs for file in job.files or [] if file.state == "FAILED"]


def _failed(job: JobOut) -> bool:
    return job.state in ("FAILED", "CANCELLED") or job.progress.files_failed > 0


def _bytes(uploads: Sequence[Upload]) -> int:
    total = 0
    for upload in uploads:
        with contextlib.suppress(OSError):
            total += upload.path.stat().st_size
    return total
