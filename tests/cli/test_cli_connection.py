from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from fake_api import KEY, READER_KEY, RunningFake
from outcome import Command

from serve_app.cli.connection import DEFAULT_URL, Target, resolve
from serve_app.cli.failures import UsageFailure
from serve_app.cli.profiles import Profile, Profiles, profiles_path

TEAM = Profile("https://rag.example", "team-key")
KNOWN = Profiles("team", {"team": TEAM, "lab": Profile("https://lab.example", "lab-key")})


def target(
    url: str | None = None,
    api_key: str | None = None,
    profile: str | None = None,
    environment: dict[str, str] | None = None,
    known: Profiles = KNOWN,
) -> Target:
    return resolve(
        url, api_key, profile, environment=environment or {}, known=known, folder=Path.cwd()
    )


def test_options_win_over_the_environment_and_that_over_the_profile_in_use() -> None:
    environment = {"RAGSERVE_URL": "https://env.example", "RAGSERVE_API_KEY": "env-key"}
    assert target() == Target("https://rag.example", "team-key")
    assert target(environment=environment) == Target("https://env.example", "env-key")
    assert target("https://x.example/", "k", environment=environment) == Target(
        "https://x.example", "k"
    )


def test_a_profile_asked_for_wins_over_the_environment() -> None:
    environment = {"RAGSERVE_URL": "https://env.example", "RAGSERVE_API_KEY": "env-key"}
    assert target(profile="lab", environment=environment) == Target(
        "https://lab.example", "lab-key"
    )


def test_a_profiles_key_does_not_go_to_another_address() -> None:
    assert target("https://evil.example") == Target("https://evil.example", None)
    assert target("https://evil.example", profile="lab").api_key is None


def test_the_development_key_goes_to_this_machine_only() -> None:
    Path(".ragserve").mkdir()
    Path(".ragserve/dev-key").write_text("dev\n")
    none = Profiles()
    assert target(known=none) == Target(DEFAULT_URL, "dev")
    assert target("http://localhost:9", known=none).api_key == "dev"
    assert target("https://rag.example", known=none).api_key is None
    assert target("http://127.0.0.1.evil.example:80", known=none).api_key is None


def test_an_unknown_profile_says_how_to_make_it() -> None:
    with pytest.raises(UsageFailure, match="ragserve profile set nope --url URL"):
        target(profile="nope")


def test_profiles_are_kept_privately_and_used(
    ragserve: Command, fake: RunningFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAGSERVE_URL")
    monkeypatch.delenv("RAGSERVE_API_KEY")
    assert ragserve("profile", "set", "here", "--url", fake.url, stdin=KEY + "\n").code == 0
    ragserve("profile", "set", "reader", "--url", fake.url, "--api-key", READER_KEY)
    assert stat.S_IMODE(profiles_path().stat().st_mode) == 0o600
    assert ragserve("collections", "create", "one").code == 0
    assert ragserve("profile", "use", "reader").code == 0
    assert ragserve("collections", "create", "two").code == 4
    assert ragserve("collections", "create", "two", "--profile", "here").code == 0
    listed = ragserve("profile", "list", "--json")
    assert listed.json["reader"] == {"url": fake.url, "has_key": True, "in_use": True}
    assert KEY not in listed.out
    assert KEY not in ragserve("profile", "list").out


def test_a_broken_profile_file_is_named(ragserve: Command) -> None:
    profiles_path().parent.mkdir(parents=True)
    profiles_path().write_text(json.dumps(["no"]))
    outcome = ragserve("collections", "list")
    assert outcome.code == 2
    assert "profiles.json cannot be read" in outcome.err
