"""Between a job's values and the strings Redis keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise

from deployments.contracts.jobs import (
    FileSpec,
    FileState,
    FileStatus,
    Job,
    JobState,
    Transition,
)


def pairs(flat: Sequence[str]) -> dict[str, str]:
    """Name, value, name, value... as a script answers a hash."""
    return {
        name: value for position, (name, value) in enumerate(pairwise(flat)) if not position % 2
    }


def job_from(fields: Mapping[str, str]) -> Job:
    """Read a record; the names are those of `submit.lua`."""
    return Job(
        id=fields["id"],
        collection=fields["collection"],
        owner=fields["owner"],
        state=JobState(fields["state"]),
        files_total=int(fields["files_total"]),
        files_done=int(fields["files_done"]),
        files_unchanged=int(fields["files_unchanged"]),
        files_failed=int(fields["files_failed"]),
        chunks_done=int(fields["chunks_done"]),
        chunks_total=int(fields["chunks_total"]),
        bytes_total=int(fields["bytes_total"]),
        bytes_done=int(fields["bytes_done"]),
        attempts=int(fields["attempts"]),
        cancel_requested=fields["cancel_requested"] == "1",
        error_code=fields["error_code"],
        error_message=fields["error_message"],
        created_at_s=float(fields["created_at_s"]),
        started_at_s=float(fields["started_at_s"]),
        ended_at_s=float(fields["ended_at_s"]),
        transitions=tuple(_transition(text) for text in fields["transitions"].split()),
    )


def _transition(text: str) -> Transition:
    state, _, at_s = text.partition("@")
    return Transition(JobState(state), float(at_s))


def spec_to_json(spec: FileSpec) -> str:
    """Write a file's specification."""
    return json.dumps({**asdict(spec), "metadata": dict(spec.metadata)})


def spec_from_json(text: str) -> FileSpec:
    """Read a file's specification."""
    return FileSpec(**json.loads(text))


def file_from(spec: FileSpec, state_json: str) -> FileStatus:
    """Join a file's specification with its state."""
    state = json.loads(state_json)
    return FileStatus(
        spec=spec,
        state=FileState(state["state"]),
        version=int(state["version"]),
        chunks_done=int(state["chunks_done"]),
        chunks_total=int(state["chunks_total"]),
        error_code=state["error_code"],
        error_message=state["error_message"],
    )
