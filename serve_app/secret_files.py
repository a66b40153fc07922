"""A directory of secrets: made once, readable by its owner alone, and looked over afterwards."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from deployments.environment import Environment
from deployments.errors import ConfigurationError
from serve_app.embedded.certificates import ensure_certificates

SECRET_BYTES = 48
RENEW_BEFORE = timedelta(days=30)
RANDOM = (
    "API_KEY_PEPPER",
    "JWT_SECRET_KEY",
    "INTER_SERVICE_SECRET",
    "REDIS_PASSWORD",
    "CACHE_REDIS_PASSWORD",
    "MILVUS_PASSWORD",
    "RAY_AUTH_TOKEN",
)
READ_BY_RAGSERVE = (*RANDOM[:5], "MILVUS_TOKEN")
VARIABLES = "secrets.env"
CERTIFICATES = "tls"


def generate(directory: Path, hosts: Sequence[str]) -> list[Path]:
    """Make every secret that production needs, and a certificate authority with a node's pair.

    One file a secret, named as its variable in small letters, as mounted secrets are. The file
    `secrets.env` holds the variables that name them, and no secret.

    Args:
        directory: where they go; made with mode 0700.
        hosts: names and addresses that the node's certificate is good for.

    Raises:
        ConfigurationError: something of the kind is there already; nothing is written then.
    """
    directory = directory.resolve()
    values = {name: secrets.token_urlsafe(SECRET_BYTES) for name in RANDOM}
    values["MILVUS_TOKEN"] = f"root:{values['MILVUS_PASSWORD']}"
    paths = {directory / name.lower(): value for name, value in values.items()}
    variables = directory / VARIABLES
    there = [path.name for path in (*paths, variables, directory / CERTIFICATES) if path.exists()]
    if there:
        raise ConfigurationError(
            f"{directory} holds {', '.join(sorted(there))} already: name another directory. "
            "Secrets in use are never overwritten."
        )
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.chmod(0o700)
    for path, value in paths.items():
        _write_new(path, value + "\n")
    tls = ensure_certificates(directory / CERTIFICATES, hosts)
    lines = [f"{name}_FILE={directory / name.lower()}" for name in READ_BY_RAGSERVE]
    lines += [
        "RAY_AUTH_MODE=token",
        f"RAY_AUTH_TOKEN_PATH={directory / 'ray_auth_token'}",
        "RAY_USE_TLS=1",
        f"RAY_TLS_SERVER_CERT={tls.certificate}",
        f"RAY_TLS_SERVER_KEY={tls.key}",
        f"RAY_TLS_CA_CERT={tls.authority}",
    ]
    _write_new(variables, "\n".join(lines) + "\n")
    return [*paths, variables, *sorted((directory / CERTIFICATES).iterdir())]


def file_problems(variables: Mapping[str, str], now: datetime | None = None) -> list[str]:
    """What is wrong with the files that variables name: open to others, or soon to expire."""
    now = now or datetime.now(UTC)
    found = []
    private = [f"{field.upper()}_FILE" for field in Environment.model_fields]
    for name in (*private, "RAY_TLS_SERVER_KEY", "RAY_AUTH_TOKEN_PATH"):
        if path := variables.get(name):
            found += _mode_problem(name, Path(path))
    for name in ("RAY_TLS_SERVER_CERT", "RAY_TLS_CA_CERT"):
        if path := variables.get(name):
            found += _certificate_problem(name, Path(path), now)
    return found


def _mode_problem(name: str, path: Path) -> list[str]:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        return [f"{name} cannot be read: {type(error).__name__}"]
    return [f"{name} is open to others (mode {mode:04o})"] if mode & 0o077 else []


def _certificate_problem(name: str, path: Path, now: datetime) -> list[str]:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        return [f"{name} cannot be read: {type(error).__name__}"]
    left = certificate.not_valid_after_utc - now
    return [f"{name} is good for {max(0, left.days)} days only"] if left < RENEW_BEFORE else []


def _write_new(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
