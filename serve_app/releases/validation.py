"""A Serve configuration, read and found usable before anything is asked of Serve.

Serve finds an unknown argument only when the application is built, on the cluster, after the
release has begun. Here it is found first, with every other problem of the file.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema

from serve_app.releases.state import ReleaseRefused, ServeConfig


def read_config(path: Path) -> ServeConfig:
    """The configuration in `path`, as its YAML has it.

    Raises:
        ReleaseRefused: naming every problem.
    """
    try:
        config = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ReleaseRefused(f"{path} cannot be read: {error}") from error
    validate(config, str(path))
    return dict(config)


def validate(config: Any, source: str) -> None:
    """Check it against Serve's schema and each application's own arguments.

    Raises:
        ReleaseRefused: naming every problem; values are not shown.
    """
    try:
        schema = ServeDeploySchema.model_validate(config)
    except ValidationError as error:
        raise ReleaseRefused(f"{source} is not a Serve configuration: {_told(error)}") from None
    problems = [text for app in schema.applications for text in _problems(app)]
    if not schema.applications:
        problems.append("it names no application")
    if problems:
        raise ReleaseRefused(f"{source} cannot be deployed: {'; '.join(problems)}")


def _problems(application: ServeApplicationSchema) -> list[str]:
    module, _, name = application.import_path.partition(":")
    try:
        builder = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        return [f"{application.name}: {application.import_path} cannot be imported: {error}"]
    arguments = _arguments(builder)
    if arguments is None:
        return []
    try:
        arguments.model_validate(application.args)
    except ValidationError as error:
        return [f"{application.name}: {_told(error)}"]
    return []


def _arguments(builder: Any) -> type[BaseModel] | None:
    """The model of a builder's one argument; None where it has none."""
    parameters = list(inspect.signature(builder).parameters.values()) if callable(builder) else []
    if len(parameters) != 1 or not isinstance(parameters[0].annotation, type):
        return None
    annotation = parameters[0].annotation
    return annotation if issubclass(annotation, BaseModel) else None


def _told(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, item['loc']))}: {item['msg']}"
        for item in error.errors(include_input=False, include_url=False)
    )
