"""Which files of this machine an agent may send: those below the folders that were named.

An agent does what documents talk it into, so that a path is an attempt until it is shown to lead
inside. Links are followed first; then the file is opened folder by folder without following any,
so that one put there in between leads nowhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from serve_app.client import Upload


class PathRefused(Exception):
    """The file may not be sent, or cannot be; the text is a sentence."""


class Roots:
    """The allowed folders; without any, no file may be sent.

    Raises PathRefused for what is no folder, and for two folders of one name: their files could
    not be told apart.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._folders: dict[str, Path] = {}
        for folder in folders:
            resolved = folder.expanduser().resolve()
            if not resolved.is_dir() or not resolved.name:
                raise PathRefused(f"{folder} is not a folder that can be a root.")
            if self._folders.setdefault(resolved.name, resolved) != resolved:
                raise PathRefused(f"Two roots are called {resolved.name!r}; name one above both.")

    @contextmanager
    def opened(self, path: str) -> Iterator[Upload]:
        """The file, open until the end, under its root's name and its path below that.

        A relative path is one below a root. Raises PathRefused; for a path that leads outside in
        the same words whether there is a file or not.
        """
        folder, inner = self._inside(path)
        try:
            descriptor = _open_below(folder, inner)
        except OSError as failure:
            reason = failure.strerror or "it is not a file"
            raise PathRefused(f"{path!r} cannot be read: {reason}.") from failure
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise PathRefused(f"{path!r} is not a file.")
            name = "/".join((folder.name, *inner.parts))
            yield Upload(Path(f"/dev/fd/{descriptor}"), name)
        finally:
            os.close(descriptor)

    def _inside(self, path: str) -> tuple[Path, Path]:
        """The root that holds the file, and the file's path below it, free of links."""
        if not self._folders:
            raise PathRefused(
                "No file may be sent: none of this machine's folders is allowed with --root."
            )
        found: list[tuple[Path, Path]] = []
        for folder in self._folders.values():
            try:
                target = (folder / path).resolve()
            except (OSError, RuntimeError, ValueError):
                # A circle of links, or a path that no system takes.
                continue
            found += [
                (root, target.relative_to(root))
                for root in self._folders.values()
                if target.is_relative_to(root)
            ]
        if not found:
            raise PathRefused(f"{path!r} is not below a folder that is allowed with --root.")
        return next((one for one in found if (one[0] / one[1]).is_file()), found[0])


def _open_below(folder: Path, inner: Path) -> int:
    """A descriptor of the file, reached without following a link below `folder`."""
    *folders, name = inner.parts or (".",)
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in folders:
            above, here = (
                here,
                os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here),
            )
            os.close(above)
        # Without O_NONBLOCK a named pipe would wait for its writer.
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=here)
    finally:
        os.close(here)
