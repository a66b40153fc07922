"""`ragserve eval`: an operator's own questions, and how well they are served."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deployments.contracts.retrieval import SearchMode
from serve_app.cli.ask import CollectionsOption, places
from serve_app.cli.connection import JsonOption, KeyOption, ProfileOption, UrlOption, connect
from serve_app.cli.failures import CommandFailure, UsageFailure
from serve_app.cli.output import console, messages, print_json, table
from serve_app.client import Ragserve
from serve_app.evaluation import questions
from serve_app.evaluation.judge import Judge, JudgeUnavailable, default_model
from serve_app.evaluation.questions import Expectation
from serve_app.evaluation.report import FIGURES, Result, as_json, means
from serve_app.evaluation.retrieval import judge_found
from serve_app.schemas import QueryIn, SearchIn

JUDGE_TIMEOUT_S = 120.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="eval")(evaluate)


def evaluate(
    file: Annotated[Path, typer.Argument(help="Questions, one JSON object a line.")],
    *,
    collection: CollectionsOption = None,
    top_k: Annotated[
        int, typer.Option("--top-k", "-k", min=1, max=50, help="Passages that count.")
    ] = 10,
    mode: Annotated[SearchMode, typer.Option(help="How to search.")] = SearchMode.HYBRID,
    answers: Annotated[
        bool, typer.Option("--answers", help="Ask for answers too, and how grounded they are.")
    ] = False,
    judge: Annotated[
        bool, typer.Option("--judge", help="Have a language model judge the answers.")
    ] = False,
    judge_url: Annotated[
        str | None,
        typer.Option(
            help="The judge's OpenAI-compatible address, up to /v1, its key in JUDGE_API_KEY. "
            "Left out: the service's own language model."
        ),
    ] = None,
    judge_model: Annotated[str | None, typer.Option(help="Left out: the endpoint's first.")] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(help=f"FIGURE=SHARE to reach, of {', '.join(FIGURES)}; else exit with 1."),
    ] = None,
    as_json_: JsonOption = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    profile: ProfileOption = None,
) -> None:
    """Measure retrieval, and with --answers or --judge the answers, on questions of your own."""
    wanted = _read(file)
    bounds = [_bound(text) for text in fail_under or []]
    with ExitStack() as stack:
        client = stack.enter_context(connect(url, api_key, profile))
        asked_for = {**places(client, collection), "mode": mode, "top_k": top_k}
        judging = _judge(stack, client, judge_url, judge_model) if judge or judge_url else None
        runner = _Runner(client, asked_for, judging, answers or judging is not None)
        results = runner.run(wanted)
    figures = means(results)
    if as_json_:
        print_json(as_json(results))
    else:
        _print(figures, judging)
    _hold(bounds, figures)


class _Runner:
    """Puts every question through the service."""

    def __init__(
        self, client: Ragserve, asked_for: dict[str, Any], judge: Judge | None, answers: bool
    ) -> None:
        self._client = client
        self._asked_for = asked_for
        self._judge = judge
        self._answers = answers

    def run(self, wanted: Sequence[Expectation]) -> list[Result]:
        """The results in order, a bar on standard error meanwhile."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=messages()) as bar:
            return [self._one(expected) for expected in bar.track(wanted, description="Asking")]

    def _one(self, expected: Expectation) -> Result:
        if not self._answers:
            body = SearchIn(query=expected.question, **self._asked_for)
            passages = self._client.search(body).passages
            found = judge_found(expected, passages) if expected.things else None
            return Result(expected.question, found)
        request = QueryIn(question=expected.question, cache=False, **self._asked_for)
        answer = self._client.query(request)
        judgement = None
        if self._judge is not None and answer.answered:
            try:
                judgement = self._judge.judge(expected.question, answer.answer, answer.passages)
            except JudgeUnavailable as failure:
                raise CommandFailure(f"The evaluation stopped: {failure}.") from None
        return Result(
            expected.question,
            judge_found(expected, answer.passages) if expected.things else None,
            answer.answer,
            answer.answered,
            answer.grounding_score if answer.answered else None,
            judgement,
        )


def _read(file: Path) -> list[Expectation]:
    try:
        return questions.read(file)
    except (OSError, ValueError) as failure:
        why = failure.strerror if isinstance(failure, OSError) else failure
        raise UsageFailure(f"{file} cannot be used: {why}.") from None


def _judge(stack: ExitStack, client: Ragserve, url: str | None, model: str | None) -> Judge:
    if url is None:
        base, key = f"{client.url}/v1", client.api_key
    else:
        base, key = url.rstrip("/"), os.environ.get("JUDGE_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    http = stack.enter_context(
        httpx.Client(base_url=f"{base}/", headers=headers, timeout=JUDGE_TIMEOUT_S)
    )
    try:
        return Judge(http, model or default_model(http))
    except JudgeUnavailable as failure:
        raise CommandFailure(f"There is no judge: {failure}.") from None


def _bound(text: str) -> tuple[str, float]:
    name, _, share = text.partition("=")
    try:
        bound = float(share)
    except ValueError:
        bound = -1.0
    if name not in FIGURES or not 0 <= bound <= 1:
        raise UsageFailure(f"--fail-under takes FIGURE=SHARE, such as recall=0.8, not {text!r}.")
    return name, bound


def _print(figures: dict[str, tuple[float, int]], judge: Judge | None) -> None:
    rows = table("figure", "mean", "questions", right=("mean", "questions"))
    for name, (value, count) in figures.items():
        rows.add_row(name, f"{value:.3f}", str(count))
    console().print(rows)
    if judge is not None:
        messages().print(f"Judged by {judge.model}.", style="dim")
    if not figures:
        messages().print("Nothing was expected: name documents or passages, or use --answers.")


def _hold(bounds: Sequence[tuple[str, float]], figures: dict[str, tuple[float, int]]) -> None:
    short = []
    for name, bound in bounds:
        value, _ = figures.get(name, (None, 0))
        if value is None:
            short.append(f"{name} is not known")
        elif value < bound:
            short.append(f"{name} is {value:.3f}, below {bound:g}")
    if short:
        raise CommandFailure(f"Not good enough: {'; '.join(short)}.")
