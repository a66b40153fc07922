"""Where the embedded system keeps its things, and who may read them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from deployments.errors import ConfigurationError
from serve_app.embedded.home import Home, write_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_what_is_prepared_is_for_its_owner_alone(home: Home) -> None:
    home.prepare()
    try:
        for folder in (home.root, home.runtime, home.blobs, home.logs, home.state_redis):
            assert mode(folder) == 0o700, folder
        home.prepare()  # again, over what is there
    finally:
        home.runtime.rmdir()


def test_a_runtime_folder_that_is_open_to_others_is_closed(home: Home) -> None:
    home.runtime.mkdir(mode=0o777)
    home.runtime.chmod(0o777)
    try:
        home.prepare()
        assert mode(home.runtime) == 0o700
    finally:
        home.runtime.rmdir()


def test_a_runtime_folder_that_is_a_link_is_refused(home: Home, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    home.runtime.symlink_to(elsewhere)
    try:
        with pytest.raises(ConfigurationError):
            home.prepare()
        assert mode(elsewhere) == 0o755
    finally:
        home.runtime.unlink()


def test_each_home_has_a_short_runtime_folder_of_its_own(tmp_path: Path) -> None:
    one, other = Home(tmp_path / "one"), Home(tmp_path / ("other" * 40))
    assert one.runtime != other.runtime
    assert one.runtime == Home(tmp_path / "x" / ".." / "one").runtime
    assert len(str(other.runtime)) < 97 - 56


def test_secrets_are_made_once_differ_and_are_for_their_owner_alone(home: Home) -> None:
    home.root.mkdir()
    made = home.secrets()
    assert home.secrets() == made
    values = {made.redis_password, made.api_key_pepper, made.ray_token}
    assert len(values) == 3
    assert all(len(value) >= 32 for value in values)
    assert mode(home.root / "secrets.json") == 0o600
    assert not any(value in repr(made) for value in values)


def test_a_private_file_replaces_an_open_one_and_leaves_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert (path.read_text(), mode(path)) == ("new", 0o600)
    assert list(tmp_path.iterdir()) == [path]
