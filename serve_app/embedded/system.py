"""The whole system on one machine: what `ragserve up` starts, watches and ends."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deployments.environment import Environment
from deployments.errors import ConfigurationError
from serve_app.embedded import stores
from serve_app.embedded.draining import Drain
from serve_app.embedded.home import Home
from serve_app.embedded.processes import Child, end_leftovers, free_port, port_answers
from serve_app.embedded.ray_node import PROXY_FOLDER, ray_head

STORE_TIMEOUT_S = 30.0
POLL_S = 0.2

START_ATTEMPTS = 2
"""Ray gives its own processes 30 s, which a busy machine can miss."""


class RayDidNotStart(ConfigurationError):
    """The Ray head node ended while starting."""


Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the operator asked for."""

    config: Path
    host: str = "127.0.0.1"
    port: int = 3400
    cpus: int = field(default_factory=lambda: max(2, os.cpu_count() or 2))
    dashboard_port: int | None = None
    alone: bool = True
    """No other Ray node joins."""


class EmbeddedSystem:
    """Stores, a Ray node and the applications. Services that a URL names are not started."""

    def __init__(self, home: Home, wishes: Wishes, environment: Mapping[str, str]) -> None:
        self.home = home
        self._wishes = wishes
        self._given = environment
        self._secrets = home.secrets()
        self._milvus_port = free_port()
        self._stores = self._embedded_stores()
        self.environment = self._service_environment()
        self.node = ray_head(
            home,
            self._secrets.ray_token,
            cpus=wishes.cpus,
            environment=self.environment,
            dashboard_port=wishes.dashboard_port,
            alone=wishes.alone,
        )
        # Before anything starts: in production a bad secret stops it here, not in a replica's log.
        Environment.of(self.environment).check(self.node.environment)
        self._deploy = self._deployment()

    @property
    def stores(self) -> Mapping[str, Child]:
        """The stores started here, by name."""
        return {child.name: child for child in self._stores}

    def start(self, say: Say) -> None:
        """Start everything and return when the applications run.

        Raises:
            ConfigurationError: something did not start; what did has been ended again.
        """
        end_leftovers(self.home.runtime)
        self.home.drain_flag.unlink(missing_ok=True)
        if port_answers(self._wishes.port, self._wishes.host):
            raise ConfigurationError(
                f"Port {self._wishes.port} is in use. Name another with --port."
            )
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                self._start(say)
            except RayDidNotStart:
                self.stop(lambda _: None)
                if attempt == START_ATTEMPTS:
                    raise
                say("Ray took too long to start; trying once more")
            except BaseException:
                self.stop(lambda _: None)
                raise
            else:
                return

    def _start(self, say: Say) -> None:
        say("starting Redis, Milvus and Ray")
        for child in (*self._stores, self.node.child, self._deploy):
            child.start()
        self._await_stores()
        self._await_deployment(say)

    def restart_dead(self) -> list[str]:
        """Start again the stores that died; the names of what was started.

        Raises:
            ConfigurationError: Ray died, and with it everything that runs on it.
        """
        if not self.node.child.running:
            raise ConfigurationError(f"Ray has ended.\n{self.node.child.last_words()}")
        dead = [child for child in self._stores if not child.running]
        for child in dead:
            child.start()
        return [child.name for child in dead]

    def drain(self, say: Say) -> None:
        """Let everybody who is being answered have the whole answer; take nobody new."""
        say("finishing what is under way")
        if not Drain(self.home.drain_flag, self.home.runtime / PROXY_FOLDER).run(say):
            say("some requests took too long and are broken off")

    def stop(self, say: Say) -> None:
        """End what was started, last first."""
        self._deploy.stop()
        for child in (self.node.child, *reversed(self._stores)):
            say(f"stopping {child.name}")
            child.stop()
        end_leftovers(self.home.runtime)

    def _embedded_stores(self) -> list[Child]:
        children = []
        if "REDIS_URL" not in self._given:
            children.append(stores.state_redis(self.home, self._secrets.redis_password))
        if "CACHE_REDIS_URL" not in self._given:
            children.append(stores.cache_redis(self.home, self._secrets.cache_redis_password))
        if "MILVUS_URI" not in self._given:
            children.append(stores.milvus(self.home, self._milvus_port))
        return children

    def _service_environment(self) -> dict[str, str]:
        """What replicas and tasks need to know; what the operator has set comes first."""
        own = self._secrets
        return {
            "REDIS_URL": stores.redis_url("redis-state", self.home, own.redis_password),
            "CACHE_REDIS_URL": stores.redis_url("redis-cache", self.home, own.cache_redis_password),
            "MILVUS_URI": f"http://127.0.0.1:{self._milvus_port}",
            "BLOB_URL": self.home.blobs.resolve().as_uri(),
            "MODEL_CACHE": str(self.home.models.resolve()),
            "DRAIN_FILE": str(self.home.drain_flag),
            "API_KEY_PEPPER": own.api_key_pepper,
            "JWT_SECRET_KEY": own.jwt_secret_key,
            "INTER_SERVICE_SECRET": own.inter_service_secret,
            "AUDIT_LOG": str(self.home.audit_log.resolve()),
        } | dict(self._given)

    def _deployment(self) -> Child:
        command = [
            sys.executable,
            *("-m", "serve_app.embedded.deploy"),
            str(self._wishes.config),
            *("--address", self.node.address),
            *("--host", self._wishes.host),
            *("--port", str(self._wishes.port)),
        ]
        log = self.home.logs / "deploy.log"
        log.unlink(missing_ok=True)
        return Child("deploy", command, log, self.node.environment)

    def _await_stores(self) -> None:
        answers: dict[str, Callable[[], bool]] = {
            "redis-state": lambda: stores.redis_answers("redis-state", self.home),
            "redis-cache": lambda: stores.redis_answers("redis-cache", self.home),
            "milvus": lambda: stores.milvus_answers(self._milvus_port),
        }
        for child in self._stores:
            child.wait_until(answers[child.name], STORE_TIMEOUT_S)

    def _await_deployment(self, say: Say) -> None:
        said = ""
        while self._deploy.running:
            said = self._tell(said, say)
            if not self.node.child.running:
                raise RayDidNotStart(f"Ray did not start.\n{self.node.child.last_words()}")
            time.sleep(POLL_S)
        if self._deploy.exit_code != 0:
            raise ConfigurationError(
                f"The applications did not start.\n{self._deploy.last_words()}"
            )

    def _tell(self, said: str, say: Say) -> str:
        """Pass on the deployment's newest line."""
        lines = [line for line in self._deploy.log.read_text().splitlines() if line.startswith("{")]
        newest = lines[-1] if lines else ""
        if newest and newest != said:
            states = json.loads(newest).items()
            say("starting " + ", ".join(f"{name} ({state.lower()})" for name, state in states))
        return newest


@contextmanager
def running_system(
    home: Home, wishes: Wishes, environment: Mapping[str, str], say: Say
) -> Iterator[EmbeddedSystem]:
    """A system that is up inside the block and gone after it."""
    home.prepare()
    system = EmbeddedSystem(home, wishes, environment)
    system.start(say)
    try:
        yield system
    finally:
        system.stop(say)
