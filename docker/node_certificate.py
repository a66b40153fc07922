# ruff: noqa: INP001 - a script of the image, not a module
"""Signs this pod's certificate for Ray's wires: its address is known only now.

node_certificate.py AUTHORITY_DIRECTORY DIRECTORY HOST...
"""

from __future__ import annotations

import sys
from pathlib import Path

from serve_app.embedded.certificates import sign_certificate

authority, directory, *hosts = sys.argv[1:]
sign_certificate(Path(authority), Path(directory), ["localhost", "127.0.0.1", *hosts])
