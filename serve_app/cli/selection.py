"""Which files `ragserve ingest` takes, what they are called, and how they are batched."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from serve_app.cli.failures import UsageFailure
from serve_app.client import Upload

# What the readers know; in a folder, other files are left alone. A file named by itself is sent
# whatever it is called: the server says whether it can read it.
READABLE = ("*.txt", "*.md", "*.markdown", "*.html", "*.htm", "*.pdf", "*.docx")

BATCH_FILES = 200
BATCH_BYTES = 64 * 1024 * 1024


def select(
    paths: Sequence[str],
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    folder: Path | None = None,
) -> list[Upload]:
    """The files of `paths` (files, folders, globs), once each, in a stable order.

    Patterns match a file's name or its path inside the folder that was named. Hidden files and
    folders are left out unless named themselves. Raises UsageFailure where a path is nothing, two
    files would get one name, or nothing is left.
    """
    folder = folder or Path.cwd()
    chosen: dict[Path, Upload] = {}
    for root in _roots(paths):
        for path, inner in _walk(root, include or READABLE):
            if not _matches(inner, exclude):
                chosen.setdefault(path.resolve(), Upload(path, _name(path, root, folder)))
    _refuse_twins(list(chosen.values()))
    if not chosen:
        raise UsageFailure(
            "No file to ingest there. Folders give files matching "
            f"{' '.join(include or READABLE)}; name others with --include."
        )
    return sorted(chosen.values(), key=lambda upload: upload.name)


def batches(uploads: Sequence[Upload]) -> Iterator[list[Upload]]:
    """Groups for one job each: at most BATCH_FILES files and, one big file aside, BATCH_BYTES."""
    batch: list[Upload] = []
    held_bytes = 0
    for upload in uploads:
        size = _size(upload)
        if batch and (len(batch) == BATCH_FILES or held_bytes + size > BATCH_BYTES):
            yield batch
            batch, held_bytes = [], 0
        batch.append(upload)
        held_bytes += size
    if batch:
        yield batch


def _size(upload: Upload) -> int:
    try:
        return upload.path.stat().st_size
    except OSError:
        # It is gone since it was found: sending it says so, with its name.
        return 0


def _roots(paths: Sequence[str]) -> Iterator[Path]:
    for text in paths:
        path = Path(text).expanduser()
        if path.exists():
            yield path
            continue
        found = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - takes absolute ones
        if not found:
            raise UsageFailure(f"{text} is neither a file nor a folder, and matches nothing.")
        yield from map(Path, found)


def _walk(root: Path, include: Sequence[str]) -> Iterator[tuple[Path, PurePath]]:
    if root.is_file():
        yield root, PurePath(root.name)
        return
    for here, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(here) / name
            inner = path.relative_to(root)
            if not name.startswith(".") and path.is_file() and _matches(inner, include):
                yield path, inner


def _matches(inner: PurePath, patterns: Sequence[str]) -> bool:
    return any(
        fnmatch.fnmatch(inner.name.lower(), pattern.lower())
        or fnmatch.fnmatch(inner.as_posix().lower(), pattern.lower())
        for pattern in patterns
    )


def _name(path: Path, root: Path, folder: Path) -> str:
    """Relative to the working folder, else to what was named: the same file, the same document."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - a link keeps the name it has here
    if absolute.is_relative_to(folder):
        return absolute.relative_to(folder).as_posix()
    base = Path(os.path.abspath(root))  # noqa: PTH100 - as above
    return absolute.relative_to(base.parent).as_posix()


def _refuse_twins(uploads: Sequence[Upload]) -> None:
    by_name: dict[str, Upload] = {}
    for upload in uploads:
        twin = by_name.setdefault(upload.name, upload)
        if twin is not upload:
            raise UsageFailure(
                f"{twin.path} and {upload.path} would both become {upload.name!r}; "
                "ingest them from a common folder, or one at a time."
            )
