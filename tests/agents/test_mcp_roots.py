from __future__ import annotations

import os
from pathlib import Path

import pytest

from serve_app.mcp import roots
from serve_app.mcp.roots import PathRefused, Roots


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("a/docs/x.md", "b/docs/x.md", "b/notes/y.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def read(allowed: Roots, path: Path | str) -> tuple[str, str]:
    with allowed.opened(str(path)) as upload:
        return upload.name, upload.path.read_text()


def test_a_file_is_named_from_its_root(place: Path) -> None:
    allowed = Roots([place / "a" / "docs", place / "b" / "notes"])
    assert read(allowed, place / "a" / "docs" / "x.md") == ("docs/x.md", "a/docs/x.md")
    assert read(allowed, "y.md") == ("notes/y.md", "b/notes/y.md")


def test_roots_that_could_not_be_told_apart_are_refused(place: Path) -> None:
    with pytest.raises(PathRefused, match="Two roots are called 'docs'"):
        Roots([place / "a" / "docs", place / "b" / "docs"])
    with pytest.raises(PathRefused, match="not a folder"):
        Roots([place / "a" / "docs" / "x.md"])


def test_only_files_are_opened(place: Path) -> None:
    os.mkfifo(place / "a" / "docs" / "pipe")
    (place / "a" / "docs" / "circle").symlink_to("circle")
    allowed = Roots([place / "a"])
    for path in ("docs/pipe", "docs", ".", "docs/none.md", "docs/x.md/deeper", "docs/circle"):
        with pytest.raises(PathRefused):
            read(allowed, path)


def test_a_folder_swapped_for_a_link_after_the_check_leads_nowhere(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = roots._open_below

    def swapped(folder: Path, inner: Path) -> int:
        (place / "a" / "docs").rename(place / "a" / "before")
        (place / "a" / "docs").symlink_to(place / "b" / "docs")
        return opened(folder, inner)

    monkeypatch.setattr(roots, "_open_below", swapped)
    with pytest.raises(PathRefused, match="cannot be read"):
        read(Roots([place / "a"]), "docs/x.md")


def test_no_descriptor_is_left_open(place: Path) -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    allowed = Roots([place / "a"])
    read(allowed, "docs/x.md")
    with pytest.raises(PathRefused):
        read(allowed, "docs")
    assert len(list(Path("/dev/fd").iterdir())) == before
