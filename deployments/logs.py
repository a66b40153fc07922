"""Where our log lines go on a replica: into Serve's files, as Serve formats them."""

from __future__ import annotations

import logging

OURS = ("deployments", "serve_app")
SERVES = "ray.serve"


def log_with_serve() -> None:
    """Give our loggers the handlers that Serve has set up in this process.

    Without it a warning would reach the log only by way of standard error, line by line and
    without its level.
    """
    serve = logging.getLogger(SERVES)
    for name in OURS:
        logger = logging.getLogger(name)
        logger.handlers = serve.handlers
        logger.setLevel(serve.level)
        logger.propagate = False
