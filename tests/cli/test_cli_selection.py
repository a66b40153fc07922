from __future__ import annotations

from pathlib import Path

import pytest

from serve_app.cli import selection
from serve_app.cli.failures import UsageFailure
from serve_app.cli.selection import batches, select


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "work"
    for name in ("docs/a.md", "docs/deep/b.PDF", "docs/picture.png", "docs/.hidden/c.md"):
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x" * 10)
    return place


def names(*paths: str, **options: object) -> list[str]:
    return [upload.name for upload in select(paths, **options)]  # type: ignore[arg-type]


def test_a_folder_gives_its_readable_files_under_their_relative_paths(folder: Path) -> None:
    assert names("docs") == ["docs/a.md", "docs/deep/b.PDF"]


def test_the_same_file_has_the_same_name_however_it_is_named(folder: Path) -> None:
    assert names("docs/a.md") == names(str(folder / "docs/a.md")) == names("docs/*.md")
    assert names("docs/a.md", "docs", "docs/../docs/a.md") == ["docs/a.md", "docs/deep/b.PDF"]


def test_a_folder_elsewhere_keeps_its_own_name(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "sub").mkdir(parents=True)
    (other / "sub" / "x.md").write_text("x")
    assert names(str(other)) == ["other/sub/x.md"]


def test_include_and_exclude_choose_within_folders(folder: Path) -> None:
    assert names("docs", include=["*.png"]) == ["docs/picture.png"]
    assert names("docs", exclude=["deep/*"]) == ["docs/a.md"]


def test_a_file_named_by_itself_is_taken_whatever_its_kind(folder: Path) -> None:
    assert names("docs/picture.png") == ["docs/picture.png"]
    assert names("docs/.hidden/c.md") == ["docs/.hidden/c.md"]


def test_a_path_that_is_nothing_is_named(folder: Path) -> None:
    with pytest.raises(UsageFailure, match=r"nowhere/\*\.md is neither"):
        select(["nowhere/*.md"])


def test_a_folder_with_nothing_readable_says_how_to_take_others(folder: Path) -> None:
    with pytest.raises(UsageFailure, match="--include"):
        select(["docs"], exclude=["*"])


def test_two_files_that_would_be_one_document_are_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.md").write_text("x")
    with pytest.raises(UsageFailure, match=r"would both become 'a\.md'"):
        select([str(tmp_path / "one" / "a.md"), str(tmp_path / "two" / "a.md")])


def test_batches_are_bounded_in_files_and_bytes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        (folder / f"{number}.md").write_text("x" * 10)
    uploads = select(["*.md"])
    monkeypatch.setattr(selection, "BATCH_FILES", 3)
    assert [len(batch) for batch in batches(uploads)] == [3, 3, 1]
    monkeypatch.setattr(selection, "BATCH_BYTES", 25)
    assert [len(batch) for batch in batches(uploads)] == [2, 2, 2, 1]
    monkeypatch.setattr(selection, "BATCH_BYTES", 5)
    assert [len(batch) for batch in batches(uploads)] == [1] * 7
