"""What a node knows of its surroundings: where the other services are, and every secret.

Read from variables or, for any variable `NAME`, from the file that `NAME_FILE` names, on the node
that needs it. Nothing of it travels in Serve's arguments, which show in Ray's dashboard.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from deployments.errors import ConfigurationError
from deployments.secret_strength import faults

HOW_TO = "`ragserve secrets generate DIRECTORY` makes good ones"


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
    redis_password: SecretStr = Field(
        default=SecretStr(""), description="Of the state Redis, where its URL holds none."
    )
    cache_redis_password: SecretStr = Field(
        default=SecretStr(""), description="Of the cache Redis, where its URL holds none."
    )
    milvus_uri: str = Field(default="http://127.0.0.1:19530", description="Milvus or milvus-lite.")
    milvus_token: SecretStr = Field(
        default=SecretStr(""), description='Milvus credentials, "user:password".'
    )
    blob_url: str = Field(
        default="file://.ragserve/blobs",
        description="Where uploads wait for ingestion: any fsspec URL.",
    )
    drain_file: Path | None = Field(
        default=None,
        description="While this file is there, the node's replicas are not ready: it is draining.",
    )
    model_cache: Path = Field(
        default=Path(".ragserve/models"), description="Where converted model files are kept."
    )
    api_key_pepper: SecretStr = Field(
        default=SecretStr(""), description="Keys the hashes under which API keys are stored."
    )
    jwt_secret_key: SecretStr = Field(
        default=SecretStr(""), description="Signs the HS256 tokens of callers; empty takes none."
    )
    inter_service_secret: SecretStr = Field(
        default=SecretStr(""),
        description="What other services show at /internal/*; empty closes it.",
    )
    inter_service_secret_previous: SecretStr = Field(
        default=SecretStr(""), description="The one before, still good while services change over."
    )
    audit_log: Path = Field(
        default=Path(".ragserve/audit.jsonl"), description="Where the audit log is appended."
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
        if self.cache_redis_url is None:
            return self.state_url
        return _with_password(self.cache_redis_url, self.cache_redis_password)

    @property
    def state_url(self) -> str:
        """The state Redis, its password included."""
        return _with_password(self.redis_url, self.redis_password)

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
        environment.check(os.environ)
        return environment

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Environment:
        """The same from variables that a child process will be given."""
        return cls(**{name.lower(): value for name, value in variables.items()})  # type: ignore[arg-type]

    def check(self, variables: Mapping[str, str]) -> None:
        """Refuse what would not be safe.

        Args:
            variables: those of the process, where Ray reads its own.

        Raises:
            ConfigurationError: naming every problem at once, and how to make a good secret.
        """
        found = self.problems(variables, production=self.ragserve_env == "production")
        if found:
            raise ConfigurationError(
                f"The environment is not usable: {'; '.join(found)}. {HOW_TO}."
            )

    def problems(self, variables: Mapping[str, str], *, production: bool) -> list[str]:
        """What is not safe, one sentence each; none of them shows a secret."""
        keys = {
            "API_KEY_PEPPER": self.api_key_pepper.get_secret_value(),
            "JWT_SECRET_KEY": self.jwt_secret_key.get_secret_value(),
            "INTER_SERVICE_SECRET": self.inter_service_secret.get_secret_value(),
        }
        former = self.inter_service_secret_previous.get_secret_value()
        if former:
            keys["INTER_SERVICE_SECRET_PREVIOUS"] = former
        if not production:
            found = faults(keys, required=False)
            if not keys["API_KEY_PEPPER"]:
                found.append("API_KEY_PEPPER is missing")
            return found
        found = faults(keys | self._store_secrets(), required=True)
        if not self.cache_redis_url:
            found.append("CACHE_REDIS_URL must name a Redis of its own in production")
        return found + _open_ray_ports(variables)

    def _store_secrets(self) -> dict[str, str]:
        """The passwords of the stores, by the variable that would set each."""
        held = {"REDIS_PASSWORD": urlsplit(self.state_url).password or ""}
        if self.cache_redis_url:
            held["CACHE_REDIS_PASSWORD"] = urlsplit(self.cache_url).password or ""
        # "user:password", or a token without a user.
        held["MILVUS_TOKEN"] = self.milvus_token.get_secret_value().rpartition(":")[2]
        return held


def _with_password(url: SecretStr, password: SecretStr) -> str:
    """The URL with the password in it, unless it holds one already."""
    text, secret = url.get_secret_value(), password.get_secret_value()
    scheme, _, rest = text.partition("://")
    if not secret or urlsplit(text).password:
        return text
    user, _, place = rest.rpartition("@")
    return f"{scheme}://{user.rstrip(':')}:{quote(secret, safe='')}@{place}"


def _open_ray_ports(variables: Mapping[str, str]) -> list[str]:
    """Ray listens on every interface and takes pickled input, that is, code, on most ports."""
    found = []
    if variables.get("RAY_AUTH_MODE") != "token":
        found.append("RAY_AUTH_MODE must be token: whoever reaches Ray's ports could run code")
    if variables.get("RAY_USE_TLS") not in ("1", "true"):
        found.append("RAY_USE_TLS must be 1, with RAY_TLS_SERVER_CERT, _SERVER_KEY and _CA_CERT")
    return found
