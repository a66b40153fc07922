"""`ragserve jobs`: what is being ingested, and what became of it."""

from __future__ import annotations

import time
from typing import Annotated, Literal

import typer
from rich.text import Text

from serve_app.cli.connection import JsonOption, KeyOption, ProfileOption, UrlOption, connect
from serve_app.cli.failures import FAILED
from serve_app.cli.job_progress import follow, job_bar
from serve_app.cli.output import console, duration, messages, print_json, safe, size, table
from serve_app.client import Ragserve
from serve_app.schemas import JobOut

State = Literal["PENDING", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED"]
JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="The job's id.", show_default=False)
]

_STYLES = {"COMPLETED": "green", "FAILED": "red", "PROCESSING": "cyan", "CANCELLED": "yellow"}

commands = typer.Typer(no_args_is_help=True, help="Look at ingestion jobs and steer them.")


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(commands, name="jobs")


@commands.command("list")
def list_(
    *,
    state: Annotated[State | None, typer.Option(help="Only jobs in this state.")] = None,
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", help="Only jobs of this collection.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 20,
    as_json: JsonOption = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    profile: ProfileOption = None,
) -> None:
    """List jobs, newest first."""
    with connect(url, api_key, profile) as client:
        found = client.list_jobs(state=state, collection=collection, limit=limit).jobs
    if as_json:
        print_json(found)
        return
    if not found:
        messages().print("No jobs. Jobs are kept for a day after their end.")
        return
    rows = table("JOB", "COLLECTION", "STATE", "FILES", "FAILED", "AGE", right=("FILES", "FAILED"))
    for job in found:
        progress = job.progress
        rows.add_row(
            job.id,
            job.collection,
            Text(job.state, style=_STYLES.get(job.state, "")),
            f"{progress.files_done}/{progress.files_total}",
            str(progress.files_failed or ""),
            duration(max(0.0, time.time() - job.created_at)),
        )
    console().print(rows)


@commands.command()
def show(
    job_id: JobArgument,
    *,
    as_json: JsonOption = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    profile: ProfileOption = None,
) -> None:
    """Show a job and each of its files."""
    with connect(url, api_key, profile) as client:
        job = client.get_job(job_id)
    if as_json:
        print_json(job)
        return
    out = console()
    out.print(headline(job))
    rows = table("FILE", "STATE", "PASSAGES", "SIZE", "REASON", right=("PASSAGES", "SIZE"))
    for file in job.files or []:
        reason, name = safe(file.error_message or ""), safe(file.name)
        rows.add_row(name, file.state, str(file.chunks_done), size(file.size_bytes), reason)
    out.print(rows)


@commands.command()
def watch(
    job_id: JobArgument,
    *,
    as_json: JsonOption = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    profile: ProfileOption = None,
) -> None:
    """Follow a job to its end. With --json, one line for each change."""
    with connect(url, api_key, profile) as client:
        if as_json:
            for change in client.job_events(job_id):
                print(change.model_dump_json(), flush=True)
            job = client.get_job(job_id)
        else:
            job = _watch(client, job_id)
    if job.state != "COMPLETED" or job.progress.files_failed:
        raise typer.Exit(FAILED)


def _watch(client: Ragserve, job_id: str) -> JobOut:
    with job_bar(messages()) as bar:
        job = follow(client, [job_id], bar)[0]
    messages().print(headline(job))
    return job


@commands.command()
def cancel(
    job_id: JobArgument,
    *,
    as_json: JsonOption = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    profile: ProfileOption = None,
) -> None:
    """Stop a job. Files that are done stay."""
    with connect(url, api_key, profile) as client:
        job = client.cancel_job(job_id)
    _steered(job, f"{job_id} will stop within seconds.", as_json=as_json)


@commands.command()
def resume(
    job_id: JobArgument,
    *,
    as_json: JsonOption = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    profile: ProfileOption = None,
) -> None:
    """Queue again what a job left undone. Files that are done are not done again."""
    with connect(url, api_key, profile) as client:
        job = client.resume_job(job_id)
    _steered(job, f"{job_id} goes on; follow it: ragserve jobs watch {job_id}", as_json=as_json)


def _steered(job: JobOut, text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(job)
    else:
        messages().print(text)


def headline(job: JobOut) -> Text:
    """A job on one line."""
    progress = job.progress
    text = Text(job.id, style="bold")
    text.append(f"  {job.state}", style=_STYLES.get(job.state, ""))
    text.append(f"  {job.collection}  {progress.files_done}/{progress.files_total} files")
    if progress.files_failed:
        text.append(f", {progress.files_failed} failed", style="red")
    text.append(f", {progress.chunks_done} passages")
    if job.error_message:
        text.append(f"  {safe(job.error_message)}", style="red")
    return text
