"""Progress bars for what is sent and what is being read."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from serve_app.cli.output import duration, safe
from serve_app.client import Ragserve
from serve_app.schemas import JobOut


class _Pace(ProgressColumn):
    """What the server says of its pace: passages a second and the time left."""

    def render(self, task: Task) -> Text:
        parts = []
        if task.fields.get("rate") is not None:
            parts.append(f"{task.fields['rate']:.0f} passages/s")
        if task.fields.get("eta_s") is not None:
            parts.append(f"{duration(task.fields['eta_s'])} left")
        return Text(" · ".join(parts), style="dim")


def upload_bar(console: Console) -> Progress:
    """A bar of bytes with speed and time left."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def job_bar(console: Console) -> Progress:
    """A bar of files with the server's own pace."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files"),
        _Pace(),
        console=console,
    )


def follow(client: Ragserve, job_ids: Sequence[str], bar: Progress) -> list[JobOut]:
    """Show the jobs' progress as one bar until all have ended; the ended jobs, files included."""
    task = bar.add_task("Waiting for a worker", total=None)
    latest: dict[str, JobOut] = {}

    def show(job: JobOut) -> None:
        latest[job.id] = job
        known = [one.progress for one in latest.values()]
        bar.update(
            task,
            description=_doing(job),
            total=sum(one.files_total for one in known),
            completed=sum(one.files_done + one.files_failed for one in known),
            rate=job.progress.chunks_per_s,
            eta_s=job.progress.eta_s if len(latest) == len(job_ids) else None,
        )

    return [client.wait(job_id, on_change=show) for job_id in job_ids]


def _doing(job: JobOut) -> str:
    if job.state == "PENDING":
        return "Waiting for a worker"
    if job.cancel_requested and job.state == "PROCESSING":
        return "Stopping"
    running = next((file for file in job.files or [] if file.state == "PROCESSING"), None)
    return f"Reading {safe(running.name)[-40:]}" if running else "Reading"
