"""What the operator says: read from variables and files, checked at once, never shown."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from deployments.environment import Environment
from deployments.errors import ConfigurationError
from serve_app import build
from serve_app.settings import EmbeddingArgs, GenerationArgs, IngestionArgs, QueryArgs, RagArgs

PEPPER = "pepper-" * 6
SECRETS = {
    "REDIS_URL": "redis://:redis-secret@127.0.0.1:6379/0",
    "CACHE_REDIS_URL": "redis://:cache-secret@127.0.0.1:6380/0",
    "MILVUS_TOKEN": "user:milvus-secret",
    "API_KEY_PEPPER": PEPPER,
    "OPENAI_API_KEY": "openai-secret",
}
HIDDEN = ("redis-secret", "cache-secret", "milvus-secret", PEPPER, "openai-secret")


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine's own."""
    for name in Environment.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)


def environment(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Environment:
    for name, value in {"API_KEY_PEPPER": PEPPER, **variables}.items():
        monkeypatch.setenv(name, value)
    return Environment.read()


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    found = environment(monkeypatch, **SECRETS, MILVUS_URI="http://milvus:19530")
    assert found.redis_url.get_secret_value() == SECRETS["REDIS_URL"]
    assert found.cache_url == SECRETS["CACHE_REDIS_URL"]
    assert found.milvus_uri == "http://milvus:19530"


def test_a_file_can_hold_what_a_variable_would(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in SECRETS.items():
        (tmp_path / name).write_text(f"{value}\n")
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    found = Environment.read()
    assert found.api_key_pepper.get_secret_value() == PEPPER
    assert found.milvus_token.get_secret_value() == SECRETS["MILVUS_TOKEN"]


def test_a_variable_comes_before_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of-the-file")
    monkeypatch.setenv("MILVUS_TOKEN_FILE", str(tmp_path / "token"))
    found = environment(monkeypatch, MILVUS_TOKEN="of-the-variable")
    assert found.milvus_token.get_secret_value() == "of-the-variable"


def test_a_file_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MILVUS_TOKEN_FILE", str(tmp_path / "absent"))
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path))
    with pytest.raises(ConfigurationError) as refused:
        environment(monkeypatch)
    assert "MILVUS_TOKEN_FILE" in refused.value.message
    assert "REDIS_URL_FILE" in refused.value.message


def test_every_problem_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError) as refused:
        environment(monkeypatch, RAGSERVE_ENV="production", API_KEY_PEPPER="short")
    assert "API_KEY_PEPPER" in refused.value.message
    assert "CACHE_REDIS_URL" in refused.value.message
    assert "short" not in refused.value.message


def test_a_value_that_is_not_valid_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError) as refused:
        environment(monkeypatch, RAGSERVE_ENV="prod-with-secret")
    assert "RAGSERVE_ENV" in refused.value.message
    assert "prod-with-secret" not in refused.value.message


def test_in_development_the_state_redis_stands_in_for_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = environment(monkeypatch, REDIS_URL="redis://one/0")
    assert found.cache_url == "redis://one/0"


def test_no_secret_shows_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    found = environment(monkeypatch, **SECRETS)
    shown = f"{found!r} {found} {found.model_dump()} {found.model_dump_json()}"
    for secret in HIDDEN:
        assert secret not in shown


def test_nothing_of_the_environment_can_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = environment(monkeypatch)
    with pytest.raises(ValidationError):
        found.milvus_uri = "http://elsewhere"  # type: ignore[misc]


ENGINES: dict[str, dict[str, str]] = {
    "nothing": {},
    "ollama": {"OLLAMA_EMBED_URL": "http://embed:11434", "OLLAMA_LLM_URL": "http://llm:11434"},
    "openai": {"OPENAI_BASE_URL": "http://vllm:8000/v1"},
    "both": {"OPENAI_BASE_URL": "http://vllm:8000/v1", "OLLAMA_LLM_URL": "http://llm:11434"},
}


@pytest.mark.parametrize(
    ("urls", "embedding", "generation", "evidence"),
    [
        ("nothing", "onnx:OnnxEmbedder", "llama_cpp:LlamaCppGenerator", "sentences"),
        ("ollama", "ollama:OllamaEmbedder", "ollama:OllamaGenerator", "passages"),
        ("openai", "onnx:OnnxEmbedder", "openai:OpenAIGenerator", "passages"),
        ("both", "onnx:OnnxEmbedder", "openai:OpenAIGenerator", "passages"),
    ],
)
def test_a_url_replaces_the_embedded_engine(
    monkeypatch: pytest.MonkeyPatch, urls: str, embedding: str, generation: str, evidence: str
) -> None:
    found = environment(monkeypatch, **ENGINES[urls])
    args = RagArgs()
    assert build.embedding_engine(args.embedding, found).target.endswith(embedding)
    assert build.generation_engine(args.generation, found).target.endswith(generation)
    assert build.resolved_query(args, found).evidence == evidence


def test_an_engine_that_is_named_comes_before_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    found = environment(monkeypatch, **ENGINES["ollama"], **ENGINES["openai"])
    named = build.embedding_engine(EmbeddingArgs(engine="openai"), found)
    assert named.target.endswith("openai:OpenAIEmbedder")
    assert named.options["base_url"] == "http://vllm:8000/v1"
    generator = build.generation_engine(GenerationArgs(engine="llama_cpp", model_path="m"), found)
    assert generator.options["model_path"] == "m"


def test_a_large_model_of_ones_own_is_shown_whole_passages(monkeypatch: pytest.MonkeyPatch) -> None:
    found = environment(monkeypatch)
    args = RagArgs(generation=GenerationArgs(model_path="/models/large.gguf"))
    assert build.resolved_query(args, found).evidence == "passages"
    chosen = RagArgs(query=QueryArgs(evidence="passages"))
    assert build.resolved_query(chosen, found).evidence == "passages"


@pytest.mark.parametrize("urls", ENGINES)
def test_no_secret_is_in_what_serve_is_given(monkeypatch: pytest.MonkeyPatch, urls: str) -> None:
    environment(monkeypatch, **SECRETS, **ENGINES[urls])
    applications = [build.rag(RagArgs()), build.ingestion(IngestionArgs())]
    given = json.dumps([list(_arguments(application)) for application in applications])
    assert "EngineSpec" in given
    for secret in HIDDEN:
        assert secret not in given


def _arguments(application: Any) -> Any:
    """Every bound argument of the graph, as text and as the bytes that travel."""
    deployment = application._bound_deployment
    for argument in [*deployment.init_args, *deployment.init_kwargs.values()]:
        if hasattr(argument, "_bound_deployment"):
            yield from _arguments(argument)
        else:
            yield [repr(argument), pickle.dumps(argument).decode("latin-1")]


@pytest.mark.parametrize(
    "args",
    [
        {"surprise": 1},
        {"query": {"top_k": 0}},
        {"embedding": {"engine": "magic"}},
        {"generation": {"api_key": "x"}},
        {"limits": {"generation_per_minute": 0}},
    ],
)
def test_arguments_that_mean_nothing_are_refused(args: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RagArgs.model_validate(args)
