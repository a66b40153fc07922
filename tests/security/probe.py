"""What a stranger on the network tries on a port. Run in another network namespace.

Reads `{"targets": [[host, port]...], "marker"}` from standard input and prints
`{"host:port": {attempt: answer}}`. The pickled payload does no harm: whoever loads it makes the
folder `marker`.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import ssl
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

TIMEOUT_S = 3.0
RAY_METHODS = (
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.InternalKVGcsService/InternalKVKeys",
    "/ray.rpc.JobInfoGcsService/GetAllJobInfo",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.CoreWorkerService/PushTask",
    "/ray.rpc.RayletDriver/Init",
    "/ray.rpc.RayletDriver/KVGet",
    "/ray.serve.generated.ASGIService/HandleRequest",
    "/ray.serve.generated.ASGIService/HandleRequestWithRejection",
    "/ray.serve.generated.RayServeAPIService/ListApplications",
)


class Harmless:
    """Pickled, it makes a file where it is loaded."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (os.mkdir, (self.marker,))


def attempts(host: str, port: int, payload: bytes) -> dict[str, str]:
    try:
        socket.create_connection((host, port), TIMEOUT_S).close()
    except OSError as error:
        return {"connect": type(error).__name__}
    found = {
        "connect": "open",
        "http": said(host, port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        "metrics": said(
            host, port, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ),
        "redis": said(host, port, b"*1\r\n$4\r\nPING\r\n"),
        "pickle": said(host, port, payload),
        "framed pickle": said(host, port, struct.pack("!I", len(payload)) + payload),
        "posted pickle": said(
            host,
            port,
            b"POST /get_or_create_runtime_env HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Content-Type: application/octet-stream\r\n"
            + f"Content-Length: {len(payload)}\r\n\r\n".encode()
            + payload,
        ),
        "tls": handshake(host, port),
    }
    found |= {f"grpc {method}": called(host, port, method, payload) for method in RAY_METHODS}
    return found


def said(host: str, port: int, sent: bytes) -> str:
    try:
        with socket.create_connection((host, port), TIMEOUT_S) as line:
            line.settimeout(TIMEOUT_S)
            line.sendall(sent)
            return line.recv(4096).decode("latin-1")[:300]
    except OSError as error:
        return f"!{type(error).__name__}"


def handshake(host: str, port: int) -> str:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        with (
            socket.create_connection((host, port), TIMEOUT_S) as line,
            context.wrap_socket(line) as secured,
        ):
            # In TLS 1.3 the server looks at the (missing) certificate after our handshake.
            secured.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
            return "open " + secured.recv(100).decode("latin-1")
    except OSError as error:
        return f"!{type(error).__name__}"


def called(host: str, port: int, method: str, payload: bytes) -> str:
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        try:
            channel.unary_unary(method)(payload, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            return f"!{error.code().name}"
    return "answered"


if __name__ == "__main__":
    task = json.load(sys.stdin)
    made = pickle.dumps(Harmless(task["marker"]))
    with ThreadPoolExecutor(16) as pool:
        tried = list(pool.map(lambda target: attempts(*target, made), task["targets"]))
    names = [f"{host}:{port}" for host, port in task["targets"]]
    sys.stdout.write(json.dumps(dict(zip(names, tried, strict=True))))
