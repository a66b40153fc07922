# ruff: noqa: INP001 - a script of the image, not a module
"""The container's health check: exits 0 where the node's own address answers 200."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

URL = os.environ.get("RAGSERVE_HEALTH_URL", "http://127.0.0.1:3400/health/live")

try:
    with urllib.request.urlopen(URL, timeout=4) as answer:  # noqa: S310 - the operator's own
        sys.exit(0 if answer.status == 200 else 1)
except (urllib.error.URLError, OSError) as error:
    sys.exit(f"{URL}: {error}")
