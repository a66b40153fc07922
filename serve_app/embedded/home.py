"""Where the embedded system keeps what it must not lose, and what it may."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from deployments.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class LocalSecrets:
    """Secrets made at the first start, for services that only this machine reaches."""

    redis_password: str = field(repr=False)
    cache_redis_password: str = field(repr=False)
    api_key_pepper: str = field(repr=False)
    jwt_secret_key: str = field(repr=False)
    inter_service_secret: str = field(repr=False)
    ray_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Home:
    """The layout of a state directory."""

    root: Path

    @property
    def runtime(self) -> Path:
        """Sockets and Ray's session.

        The path is short because Serve puts 56 characters of its own into that of HAProxy's
        socket, which may have 97 in all.
        """
        name = hashlib.sha256(f"{os.getuid()}:{self.root.resolve()}".encode()).hexdigest()[:8]
        return Path("/tmp") / f"rag-{name}"  # noqa: S108 - made with mode 0700, checked below

    @property
    def state_redis(self) -> Path:
        return self.root / "redis-state"

    @property
    def cache_redis(self) -> Path:
        return self.root / "redis-cache"

    @property
    def milvus(self) -> Path:
        return self.root / "milvus"

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def certificates(self) -> Path:
        return self.root / "tls"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def development_key(self) -> Path:
        return self.root / "dev-key"

    @property
    def audit_log(self) -> Path:
        return self.root / "audit.jsonl"

    @property
    def drain_flag(self) -> Path:
        """There while the system is about to end."""
        return self.runtime / "draining"

    @property
    def run_record(self) -> Path:
        """What is running now, for `status` and `down`."""
        return self.root / "run.json"

    def prepare(self) -> None:
        """Make the directories, readable by their owner alone."""
        for directory in (
            self.root,
            self.runtime,
            self.state_redis,
            self.cache_redis,
            self.milvus,
            self.blobs,
            self.models,
            self.logs,
        ):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        # In a directory where everybody may make one first, or a link to something of ours.
        found = self.runtime.lstat()
        if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
            raise ConfigurationError(f"{self.runtime} was made by somebody else; remove it.")
        self.runtime.chmod(0o700)

    def secrets(self) -> LocalSecrets:
        """The secrets of this state directory; each is made when it is first missed."""
        path = self.root / "secrets.json"
        kept = json.loads(path.read_text()) if path.exists() else {}
        names = [secret.name for secret in fields(LocalSecrets)]
        found = LocalSecrets(
            **{name: kept.get(name) or secrets.token_urlsafe(48) for name in names}
        )
        if asdict(found) != kept:
            write_private(path, json.dumps(asdict(found)))
        return found


def write_private(path: Path, text: str) -> None:
    """Write a file whole or not at all, readable by its owner alone."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)
