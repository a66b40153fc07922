"""What a node knows of its surroundings: where the other services are, and every secret.

Read from variables or, for any variable `NAME`, from the file that `NAME_FILE` names, on the node
that needs it. Nothing of it travels in Serve's arguments, which show in Ray's dashboard.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from deployments.errors import ConfigurationError

MIN_SECRET_CHARS = 32


def variable(name: str) -> str:
    """The variable `name`, or what the file that `NAME_FILE` names holds; empty without either.

    Raises:
        ConfigurationError: there is such a file and it cannot be read.
    """
    if value := os.environ.get(name):
        return value
    try:
        return _from_file(name) or ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"Files cannot be read: {name}_FILE: {type(error).__name__}."
        ) from error


def _from_file(name: str) -> str | None:
    path = os.environ.get(f"{name}_FILE")
    return Path(path).read_text().strip() if path else None


class FileSource(PydanticBaseSettingsSource):
    """Reads `NAME` from the file that the variable `NAME_FILE` names, as mounted secrets want."""

    def get_field_value(
        self,
        field: FieldInfo,  # noqa: ARG002 - the name says it all
        field_name: str,
    ) -> tuple[Any, str, bool]:
        return _from_file(field_name.upper()), field_name, False

    def __call__(self) -> dict[str, Any]:
        found, problems = {}, []
        for name, field in self.settings_cls.model_fields.items():
            try:
                value, _, _ = self.get_field_value(field, name)
            except (OSError, UnicodeDecodeError) as error:
                problems.append(f"{name.upper()}_FILE: {type(error).__name__}")
                continue
            if value is not None:
                found[name] = value
        if problems:
            raise ConfigurationError(f"Files cannot be read: {'; '.join(problems)}.")
        return found


class Environment(BaseSettings):
    """The services and secrets of this node. Variables are the upper-case field names."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    ragserve_env: Literal["development", "production"] = "development"
    redis_url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        description="State Redis: jobs, locks, API keys. Must not evict.",
    )
    cache_redis_url: SecretStr | None = Field(
        default=None, description="Cache Redis: answers and rate limits. May evict."
    )
    milvus_uri: str = Field(default="http://127.0.0.1:19530", description="Milvus or milvus-lite.")
    milvus_token: SecretStr = Field(
        default=SecretStr(""), description='Milvus credentials, "user:password".'
    )
    blob_url: str = Field(
        default="file://.ragserve/blobs",
        description="Where uploads wait for ingestion: any fsspec URL.",
    )
    model_cache: Path = Field(
        default=Path(".ragserve/models"), description="Where converted model files are kept."
    )
    api_key_pepper: SecretStr = Field(
        default=SecretStr(""), description="Keys the hashes under which API keys are stored."
    )
    ollama_embed_url: str = Field(default="", description="Ollama server for embeddings.")
    ollama_embed_model: str = "all-minilm"
    ollama_llm_url: str = Field(default="", description="Ollama server for generation.")
    ollama_llm_model: str = "llama3.2"
    openai_base_url: str = Field(
        default="", description="OpenAI-compatible server for generation, vLLM included."
    )
    openai_model: str = "default"
    openai_embed_model: str = "text-embedding-3-small"
    rerank_url: str = Field(default="", description="Rerank endpoint, for reranking by HTTP.")
    openai_api_key: SecretStr = SecretStr("")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - no .env file is read
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - FileSource instead
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Explicit values first, then variables, then files."""
        return init_settings, env_settings, FileSource(settings_cls)

    @property
    def cache_url(self) -> str:
        """The cache Redis; in development the state Redis may stand in for it."""
        return (self.cache_redis_url or self.redis_url).get_secret_value()

    @classmethod
    def given(cls) -> dict[str, str]:
        """What is set here, by the variables' names and with files read.

        Raises:
            ConfigurationError: naming the files that cannot be read.
        """
        files = {name.upper(): value for name, value in FileSource(cls)().items()}
        variables = {name.upper(): os.environ.get(name.upper()) for name in cls.model_fields}
        return files | {name: value for name, value in variables.items() if value}

    @classmethod
    def read(cls) -> Environment:
        """Read it once.

        Raises:
            ConfigurationError: naming every problem at once.
        """
        try:
            environment = cls()
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, item['loc'])).upper()}: {item['msg']}"
                for item in error.errors(include_input=False)
            )
            raise ConfigurationError(f"The environment is not usable: {problems}.") from None
        environment.check()
        return environment

    def check(self) -> None:
        """Refuse what would not be safe.

        Raises:
            ConfigurationError: naming every problem at once.
        """
        problems = []
        if len(self.api_key_pepper.get_secret_value()) < MIN_SECRET_CHARS:
            problems.append(
                f"API_KEY_PEPPER must hold at least {MIN_SECRET_CHARS} characters "
                "(make one with: python -c 'import secrets; print(secrets.token_urlsafe(48))')"
            )
        if self.ragserve_env == "production" and not self.cache_redis_url:
            problems.append("CACHE_REDIS_URL must name a Redis of its own in production")
        if problems:
            raise ConfigurationError("The environment is not usable: " + "; ".join(problems) + ".")
