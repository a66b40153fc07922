"""Secrets: none is weak in production, every fault is told at once, and none is ever shown."""

from __future__ import annotations

import secrets
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from deployments.environment import Environment
from deployments.errors import ConfigurationError
from deployments.secret_strength import faults
from serve_app.cli.main import app
from serve_app.embedded.home import Home
from serve_app.embedded.system import EmbeddedSystem, Wishes
from serve_app.secret_files import file_problems, generate

RAY = {"RAY_AUTH_MODE": "token", "RAY_USE_TLS": "1"}


def strong() -> str:
    return secrets.token_urlsafe(48)


def production() -> dict[str, str]:
    return {
        "RAGSERVE_ENV": "production",
        "API_KEY_PEPPER": strong(),
        "JWT_SECRET_KEY": strong(),
        "INTER_SERVICE_SECRET": strong(),
        "REDIS_URL": f"redis://:{strong()}@redis:6379/0",
        "CACHE_REDIS_URL": "redis://cache:6379/0",
        "CACHE_REDIS_PASSWORD": strong(),
        "MILVUS_TOKEN": f"root:{strong()}",
    }


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Environment.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)
    for name in ("RAY_AUTH_MODE", "RAY_USE_TLS"):
        monkeypatch.delenv(name, raising=False)


def refusal(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as refused:
        Environment.read()
    return refused.value.message


def test_good_secrets_start_in_production(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (production() | RAY).items():
        monkeypatch.setenv(name, value)
    assert Environment.read().ragserve_env == "production"


def test_a_bare_production_is_told_everything_it_lacks_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message = refusal(monkeypatch, {"RAGSERVE_ENV": "production"})
    for name in (
        *("API_KEY_PEPPER", "JWT_SECRET_KEY", "INTER_SERVICE_SECRET", "REDIS_PASSWORD"),
        *("CACHE_REDIS_URL", "MILVUS_TOKEN", "RAY_AUTH_MODE", "RAY_USE_TLS"),
    ):
        assert name in message
    assert "ragserve secrets generate" in message


@pytest.mark.parametrize(
    ("weak", "reason"),
    [
        ("tiny-Secret-7", "13 bytes"),
        ("change-me-change-me-change-me-now", "development default"),
        ("insecure" * 8, "development default"),
        ("ab" * 32, "repeats"),
    ],
)
@pytest.mark.parametrize("name", ["API_KEY_PEPPER", "JWT_SECRET_KEY", "INTER_SERVICE_SECRET"])
def test_a_weak_secret_stops_production_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, weak: str, reason: str
) -> None:
    message = refusal(monkeypatch, production() | RAY | {name: weak})
    assert f"{name} " in message
    assert reason in message
    assert weak not in message


@pytest.mark.parametrize(
    "weak",
    [
        {"REDIS_URL": "redis://redis:6379/0"},
        {"REDIS_URL": "redis://:short@redis:6379/0"},
        {"CACHE_REDIS_PASSWORD": "short"},
        {"MILVUS_TOKEN": "root:Milvus"},
        {"RAY_AUTH_MODE": "disabled"},
        {"RAY_USE_TLS": "0"},
    ],
)
def test_an_open_store_or_an_open_ray_stops_production(
    monkeypatch: pytest.MonkeyPatch, weak: dict[str, str]
) -> None:
    message = refusal(monkeypatch, production() | RAY | weak)
    (name,) = weak
    assert name.removesuffix("_URL") in message


def test_one_secret_for_two_purposes_stops_production(monkeypatch: pytest.MonkeyPatch) -> None:
    same = strong()
    twice = {"JWT_SECRET_KEY": same, "INTER_SERVICE_SECRET_PREVIOUS": same}
    message = refusal(monkeypatch, production() | RAY | twice)
    assert "JWT_SECRET_KEY and INTER_SERVICE_SECRET_PREVIOUS are the same" in message
    assert same not in message


def test_development_does_with_less_but_never_with_a_short_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("API_KEY_PEPPER", strong())
    assert Environment.read().jwt_secret_key.get_secret_value() == ""
    assert "JWT_SECRET_KEY" in refusal(monkeypatch, {"JWT_SECRET_KEY": "short"})


def test_the_embedded_system_refuses_before_it_starts_anything(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    try:
        config = Path("ray_config/serve.local.yaml")
        with pytest.raises(ConfigurationError) as refused:
            EmbeddedSystem(home, Wishes(config=config), {"RAGSERVE_ENV": "production"})
        # The embedded Milvus has no password; all that the first start made is good.
        assert refused.value.message.count(";") == 0
        assert "MILVUS_TOKEN is missing" in refused.value.message
    finally:
        shutil.rmtree(home.runtime)


@given(st.binary(min_size=32, max_size=64))
def test_a_random_secret_is_never_called_weak(entropy: bytes) -> None:
    made = secrets.token_urlsafe(48)
    assert faults({"A": made, "B": strong()}, required=True) == []


def test_a_password_of_its_own_goes_into_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY_PEPPER", strong())
    monkeypatch.setenv("REDIS_PASSWORD", "p@ss/word")
    for url, whole in [
        ("redis://host:1/0", "redis://:p%40ss%2Fword@host:1/0"),
        ("rediss://user@host:1/0", "rediss://user:p%40ss%2Fword@host:1/0"),
        ("redis://:own@host:1/0", "redis://:own@host:1/0"),
    ]:
        monkeypatch.setenv("REDIS_URL", url)
        assert Environment.read().state_url == whole


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["secrets", *words])
    return result.exit_code, result.output


def test_what_is_generated_is_private_and_passes_the_check(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "secrets"
    code, _ = run("generate", str(folder), "--host", "10.0.0.7")
    assert code == 0
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    lines = (folder / "secrets.env").read_text().splitlines()
    for name, _, value in (line.partition("=") for line in lines):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CACHE_REDIS_URL", "redis://cache:6379/0")
    assert run("check")[0] == 0

    (folder / "jwt_secret_key").chmod(0o644)
    (folder / "api_key_pepper").write_text("short")
    code, said = run("check")
    assert code == 1
    assert "JWT_SECRET_KEY_FILE is open to others (mode 0644)" in said
    assert "API_KEY_PEPPER has 5 bytes" in said


def test_secrets_in_use_are_never_overwritten(tmp_path: Path) -> None:
    assert run("generate", str(tmp_path))[0] == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, said = run("generate", str(tmp_path))
    assert code == 1
    assert "never overwritten" in said
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_what_generate_prints_holds_no_secret(tmp_path: Path) -> None:
    _, said = run("generate", str(tmp_path / "s"))
    for path in (tmp_path / "s").iterdir():
        if path.is_file() and path.name != "secrets.env":
            assert path.read_text().strip() not in said


def test_a_certificate_that_ends_soon_is_named(tmp_path: Path) -> None:
    generate(tmp_path / "s", ["localhost"])
    tls = {"RAY_TLS_SERVER_CERT": str(tmp_path / "s" / "tls" / "node.pem")}
    assert file_problems(tls) == []
    later = datetime.now(UTC) + timedelta(days=3645)
    assert "days only" in file_problems(tls, later)[0]
