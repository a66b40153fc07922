"""What the documents say is so: links lead somewhere, commands parse, configurations validate."""

from __future__ import annotations

import importlib
import re
import shlex
from inspect import signature
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml
from ray.serve.schema import ServeDeploySchema

from deployments.environment import Environment
from serve_app.cli.main import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
CONFIGURATIONS = sorted((ROOT / "ray_config").glob("serve*.yaml"))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"^\s*(ragserve .+)$|`(ragserve [^`]+)`", re.MULTILINE)


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_relative_link_leads_to_a_file(document: Path) -> None:
    targets = [link.partition("#")[0] for link in LINK.findall(document.read_text())]
    relative = [target for target in targets if target and "://" not in target]
    assert [target for target in relative if not (document.parent / target).exists()] == []


def _typed(code: str) -> str:
    """What is typed: in a transcript that is what stands behind prompts, the rest is output."""
    if "\n$ " not in code:
        return code
    return "\n".join(line[2:] for line in code.splitlines() if line.startswith("$ "))


def _commands() -> list[str]:
    found = []
    text = "\n".join(map(Path.read_text, DOCUMENTS))
    for code in re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL):
        found += [first or second for first, second in COMMAND.findall(_typed(code))]
    return sorted(set(found))


@pytest.mark.parametrize("line", _commands())
def test_every_command_named_exists_with_its_options(line: str) -> None:
    command, words = typer.main.get_command(app), shlex.split(line, comments=True)[1:]
    parent = None
    while hasattr(command, "commands") and words:
        parent = click.Context(command, parent=parent, info_name=command.name)
        assert words[0] in command.commands, line
        command, words = command.commands[words[0]], words[1:]
    if words:
        command.make_context(command.name, words, parent=parent)


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=_name)
def test_a_serve_configuration_names_builders_and_arguments_that_exist(
    configuration: Path,
) -> None:
    schema = ServeDeploySchema.model_validate(yaml.safe_load(configuration.read_text()))
    assert schema.applications
    for application in schema.applications:
        module, _, name = application.import_path.partition(":")
        builder = getattr(importlib.import_module(module), name)
        arguments: Any = next(iter(signature(builder).parameters.values())).annotation
        arguments.model_validate(application.args)


def test_every_variable_of_the_environment_is_in_the_readme() -> None:
    named = set(re.findall(r"`([A-Z_]+)`", (ROOT / "README.md").read_text()))
    assert {name.upper() for name in Environment.model_fields} - named == set()
