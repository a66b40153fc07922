"""`ragserve up`, `down` and `status`: the whole system on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import httpx
import typer
from rich.console import Console
from rich.status import Status

from deployments.environment import Environment
from deployments.errors import ConfigurationError, Unauthenticated
from serve_app.cli.collections import ensure
from serve_app.cli.connection import DEFAULT_URL, JsonOption
from serve_app.cli.failures import FAILED, NO_CONNECTION, CommandFailure
from serve_app.cli.ingest import Ingestion
from serve_app.cli.output import messages, print_json, table
from serve_app.cli.selection import select
from serve_app.client import Ragserve
from serve_app.embedded.home import Home, write_private

if TYPE_CHECKING:
    from serve_app.embedded.system import EmbeddedSystem

CHECKOUT = Path(__file__).resolve().parents[2]
SAMPLE_COLLECTION = "ragserve_docs"
WATCH_S = 1.0
READY_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Which process runs the system, and where it answers."""

    pid: int
    url: str


HomeOption = Annotated[
    Path, typer.Option("--home", help="Where data, keys and logs are kept.", envvar="RAGSERVE_HOME")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(up)
    app.command()(down)
    app.command()(status)


def up(
    *,
    home: HomeOption = Path(".ragserve"),
    host: Annotated[str, typer.Option(help="Address that HTTP listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port that HTTP listens on.")] = 3400,
    config: Annotated[
        Path, typer.Option(help="Serve configuration to deploy.", exists=True, dir_okay=False)
    ] = CHECKOUT / "ray_config" / "serve.local.yaml",
    sample: Annotated[
        bool, typer.Option("--sample/--no-sample", help="Load ragserve's own documents.")
    ] = True,
    dashboard: Annotated[
        int | None,
        typer.Option(help="Port for Ray's dashboard (about 900 MB more).", show_default=False),
    ] = None,
) -> None:
    """Start everything on this machine, and stay until Ctrl-C.

    Redis, Milvus, the models and Ray are started here unless a URL names one elsewhere: REDIS_URL,
    CACHE_REDIS_URL, MILVUS_URI, OLLAMA_EMBED_URL, OLLAMA_LLM_URL, OPENAI_BASE_URL. Each can be
    given as a file, with REDIS_URL_FILE and so on.
    """
    # Deferred: Ray takes seconds to import, and only this command needs it.
    from serve_app.embedded.system import Wishes, running_system

    started = time.monotonic()
    notes = messages()
    place = Home(home)
    place.prepare()
    _refuse_second(place)
    wishes = Wishes(config=config, host=host, port=port, dashboard_port=dashboard)
    url = f"http://{host}:{port}"
    with _recorded(place, url), _interruptible():
        try:
            with (
                notes.status("starting") as progress,
                running_system(
                    place, wishes, Environment.given(), _teller(notes, progress)
                ) as system,
            ):
                key = development_key(place, system.environment)
                _await_ready(url)
                progress.stop()
                ready_s = time.monotonic() - started
                if sample:
                    _load_sample(url, key, notes)
                _greet(url, key, notes, ready_s)
                try:
                    _watch(system, notes)
                except KeyboardInterrupt:
                    system.drain(notes.print)
                    raise
        except ConfigurationError as error:
            raise CommandFailure(error.message) from None
        except KeyboardInterrupt:
            pass
    notes.print("Stopped. The data is kept; `ragserve up` goes on with it.")


def down(*, home: HomeOption = Path(".ragserve")) -> None:
    """Stop what `ragserve up` started from this folder."""
    record = _running(Home(home))
    if record is None:
        messages().print("Nothing is running.")
        return
    os.kill(record.pid, signal.SIGTERM)
    with messages().status("stopping"):
        while _alive(record.pid):
            time.sleep(0.1)
    messages().print("Stopped.")


def status(*, home: HomeOption = Path(".ragserve"), as_json: JsonOption = False) -> None:
    """Show whether it runs, and the health of every part."""
    record = _running(Home(home))
    url = record.url if record else DEFAULT_URL
    try:
        health = httpx.get(f"{url}/health", timeout=10).json()
    except httpx.HTTPError:
        health = {"status": "unreachable", "dependencies": []}
    if as_json:
        print_json({"url": url, "pid": record.pid if record else None, **health})
    else:
        rows = table("PART", "STATE", "LATENCY", "", right=("LATENCY",))
        for part in health["dependencies"]:
            latency = "" if part["latency_ms"] is None else f"{part['latency_ms']:.1f} ms"
            rows.add_row(part["name"], part["state"], latency, part["detail"])
        messages().print(f"{url} is {health['status']}.")
        if health["dependencies"]:
            messages().print(rows)
    if health["status"] == "unreachable":
        raise typer.Exit(NO_CONNECTION)
    if health["status"] != "ok":
        raise typer.Exit(FAILED)


def development_key(home: Home, environment: dict[str, str]) -> str:
    """This machine's key with every scope; made again where the store has lost it."""
    return asyncio.run(_development_key(home, environment))


async def _development_key(home: Home, environment: dict[str, str]) -> str:
    # Deferred: the client commands do without Redis.
    from deployments.state.api_keys import ApiKeyStore
    from deployments.state.connection import connect

    known = Environment.of(environment)
    client = connect(known.state_url)
    keys = ApiKeyStore(client, known.api_key_pepper.get_secret_value().encode())
    path = home.development_key
    try:
        if path.exists():
            try:
                await keys.verify(path.read_text().strip())
                return path.read_text().strip()
            except Unauthenticated:
                pass
        text, _ = await keys.create("development", ["query", "ingest", "admin"], ["*"])
        write_private(path, text + "\n")
        return text
    finally:
        await client.aclose()


def _teller(notes: Console, progress: Status) -> Callable[[str], None]:
    """One line that changes on a terminal, a line each elsewhere."""
    return progress.update if notes.is_terminal else notes.print


def _watch(system: EmbeddedSystem, notes: Console) -> None:
    while True:
        time.sleep(WATCH_S)
        for name in system.restart_dead():
            notes.print(f"{name} had died; it is running again.", style="yellow")


def _load_sample(url: str, key: str, notes: Console) -> None:
    with Ragserve(url, key) as client:
        ensure(client, SAMPLE_COLLECTION)
        run = Ingestion(client, SAMPLE_COLLECTION, notes)
        run.send(select([str(CHECKOUT / "README.md"), str(CHECKOUT / "docs")], ["*.md"], ()))
        run.follow()


def _greet(url: str, key: str, notes: Console, took_s: float) -> None:
    question = {"collection": SAMPLE_COLLECTION, "question": "Which ports does ragserve use?"}
    notes.print(f"\nragserve is ready after {took_s:.0f} s: {url}", style="bold green")
    notes.print(f"API key (development): {key}")
    notes.print("\nAsk it something:\n")
    notes.print(
        f"curl -sN {url}/v1/query -H 'Authorization: Bearer {key}' "
        f"-H 'Content-Type: application/json' -d '{json.dumps(question)}'",
        soft_wrap=True,
    )
    notes.print("\nOr: ragserve ask 'Which ports does ragserve use?' -c ragserve_docs")
    notes.print("Ctrl-C stops everything.")


def _await_ready(url: str) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    last = "no answer"
    while time.monotonic() < deadline:
        try:
            response = httpx.get(f"{url}/health/ready", timeout=5)
        except httpx.HTTPError as error:
            last = str(error)
        else:
            if response.status_code == httpx.codes.OK:
                return
            last = response.text
        time.sleep(0.2)
    raise ConfigurationError(f"{url} did not become ready: {last}")


def _refuse_second(home: Home) -> None:
    if record := _running(home):
        raise CommandFailure(
            f"It is running already at {record.url} (process {record.pid}). "
            "Stop it with `ragserve down`."
        )


def _running(home: Home) -> RunRecord | None:
    try:
        record = RunRecord(**json.loads(home.run_record.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return record if _alive(record.pid) else None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def _recorded(home: Home, url: str) -> Iterator[None]:
    write_private(home.run_record, json.dumps(asdict(RunRecord(os.getpid(), url))))
    try:
        yield
    finally:
        home.run_record.unlink(missing_ok=True)


@contextmanager
def _interruptible() -> Iterator[None]:
    """The first Ctrl-C or SIGTERM interrupts what is under way; the clean-up runs to its end."""
    numbers = (signal.SIGINT, signal.SIGTERM)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
