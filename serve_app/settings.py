"""Everything that can be set, read once and passed down as values.

Two kinds, kept apart. *Arguments* (`RagArgs`, `IngestionArgs`) come from the Serve YAML, travel
through Ray and show in its dashboard: they hold no secret. The *environment* of the node holds
where the other services are and every secret; it is read on the node that needs it, from
variables or, for any variable `NAME`, from the file that `NAME_FILE` names.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from deployments.errors import ConfigurationError


class FileSource(PydanticBaseSettingsSource):
    """Reads `NAME` from the file that the variable `NAME_FILE` names, as mounted secrets want."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        name = str(field.validation_alias or field_name).upper()
        path = os.environ.get(f"{name}_FILE")
        return (Path(path).read_text().strip() if path else None, field_name, False)

    def __call__(self) -> dict[str, Any]:
        found = {}
        for name, field in self.settings_cls.model_fields.items():
            value, _, _ = self.get_field_value(field, name)
            if value is not None:
                found[name] = value
        return found


class Environment(BaseSettings):
    """The services and secrets of this node. Variables are the upper-case field names."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    ragserve_env: Literal["development", "production"] = "development"
    redis_url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        description="State Redis: jobs, locks, limits, keys. Must not evict.",
    )
    cache_redis_url: SecretStr | None = Field(
        default=None, description="Cache Redis: answers and embeddings. May evict."
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
    openai_api_key: SecretStr = SecretStr("")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        **_: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Explicit values first, then variables, then files."""
        return init_settings, env_settings, FileSource(settings_cls)

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
        if len(self.api_key_pepper.get_secret_value()) < 32:
            problems.append(
                "API_KEY_PEPPER must hold at least 32 characters "
                "(make one with: python -c 'import secrets; print(secrets.token_urlsafe(48))')"
            )
        if self.ragserve_env == "production" and not self.cache_redis_url:
            problems.append("CACHE_REDIS_URL must name a Redis of its own in production")
        if problems:
            raise ConfigurationError("The environment is not usable: " + "; ".join(problems) + ".")


class Args(BaseModel):
    """Arguments of an application or a part of one: typed, frozen, strict."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ReplicaArgs(Args):
    """How many replicas of a deployment run, and what each may use."""

    replicas: Annotated[int, Field(ge=1)] = 1
    cpus: Annotated[float, Field(ge=0)] = 0.2
    gpus: Annotated[float, Field(ge=0)] = 0.0
    max_ongoing_requests: Annotated[int, Field(ge=1)] = 256
    max_queued_requests: Annotated[int, Field(ge=-1)] = 512


class EmbeddingArgs(ReplicaArgs):
    """The embedding model. `threads` is the engine's own, each pinned by OMP_NUM_THREADS."""

    engine: Literal["auto", "onnx", "ollama", "openai"] = "auto"
    threads: Annotated[int, Field(ge=1)] = 1
    precision: Literal["fp32", "int8"] = "fp32"


class GenerationArgs(ReplicaArgs):
    """The language model. `parallel` answers are computed at once, `queued` more may wait."""

    engine: Literal["auto", "llama_cpp", "ollama", "openai", "paced"] = "auto"
    model_path: str | None = None
    context_tokens: Annotated[int, Field(ge=512)] = 4096
    parallel: Annotated[int, Field(ge=1)] = 4
    queued: Annotated[int, Field(ge=0)] = 64
    threads: Annotated[int, Field(ge=1)] = 1
    keep_alive: str = "30m"
    pull: bool = False


class RerankingArgs(Args):
    """Reranking by the embedding model's token vectors (`maxsim`) or an HTTP endpoint."""

    engine: Literal["none", "maxsim"] = "none"


class LimitArgs(Args):
    """Requests a minute a principal."""

    generation_per_minute: Annotated[int, Field(ge=1)] = 10
    search_per_minute: Annotated[int, Field(ge=1)] = 120
    ingestion_per_minute: Annotated[int, Field(ge=1)] = 60


class UploadArgs(Args):
    """What one request may bring."""

    max_file_bytes: Annotated[int, Field(ge=1)] = 100 * 1024 * 1024
    max_request_bytes: Annotated[int, Field(ge=1)] = 1024 * 1024 * 1024
    max_files: Annotated[int, Field(ge=1)] = 1000
    max_queued_jobs: Annotated[int, Field(ge=1)] = 1000


class RagArgs(Args):
    """Arguments of application `rag`: the ingress, its models and its policies."""

    ingress: ReplicaArgs = ReplicaArgs()
    embedding: EmbeddingArgs = EmbeddingArgs()
    generation: GenerationArgs = GenerationArgs()
    reranking: RerankingArgs = RerankingArgs()
    limits: LimitArgs = LimitArgs()
    uploads: UploadArgs = UploadArgs()
    default_deadline_s: Annotated[float, Field(gt=0)] = 60.0
    answer_cache_ttl_s: Annotated[int, Field(ge=0)] = 3600


class IngestionArgs(Args):
    """Arguments of application `ingestion`."""

    supervisor: ReplicaArgs = ReplicaArgs(cpus=0.1)
    files_in_flight: Annotated[int, Field(ge=1)] = 2
    task_cpus: Annotated[float, Field(gt=0)] = 0.5
    chunk_tokens: Annotated[int, Field(ge=32)] = 200
    chunk_overlap_tokens: Annotated[int, Field(ge=0)] = 30
    embed_batch: Annotated[int, Field(ge=1, le=512)] = 64
