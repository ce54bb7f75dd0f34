"""The subcommand `serve`: the verifier over HTTP."""

import argparse
import ipaddress
import os
import signal
import socket
from pathlib import Path

from faceverify.base.errors import InputError
from faceverify.verify.command import VERIFIER, load_verifier

STOPPED = 0  # the exit code
KEY = "FACEVERIFY_API_KEY"
SHORTEST_KEY = 16
# Seconds that a connection may be idle, and that requests may go on after a signal to stop: as
# long as reading a body and the work on it may take.
IDLE, STOPPING = 30, 35
# Connections at a time; each holds little until its body is read.
CONNECTIONS = 512


def add(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand; its `work` is `run`."""
    parser = subparsers.add_parser(
        "serve",
        help="answer over HTTP",
        description=f"Answer over HTTP. The environment variable {KEY} holds the key that "
        "clients send; without it only this machine may ask.",
        epilog="exit code: 0 stopped by a signal, 2 error, 70 a fault of the program itself",
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address; without it %(default)s")
    parser.add_argument(
        "--port", type=int, default=8000, help="without it %(default)s; 0 takes a free one"
    )
    parser.add_argument(
        "--verifier", type=Path, metavar="FILE", help=f"a verifier.json; without it {VERIFIER}"
    )
    # A front of several subcommands finds here what it asks of each.
    parser.set_defaults(work=run, json=False, threshold=None)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal to stop; gives STOPPED.

    Raises InputError for a verifier that cannot be loaded and a service that would be open to
    others without a key, OSError for an address that cannot be listened at.
    """
    key = _key(arguments.host)
    if not 0 <= arguments.port < 2**16:
        raise InputError(f"--port: {arguments.port} is not in 0 .. 65535")
    try:
        import uvicorn

        from faceverify.serve import app, telemetry
    except ModuleNotFoundError as error:
        raise InputError(
            f"serving needs the package {error.name}; install faceverify with [serve]"
        ) from None
    application = app.make_app(load_verifier(arguments.verifier), key)
    listener = _listener(arguments.host, arguments.port)
    config = uvicorn.Config(
        application, log_config=None, access_log=False, server_header=False,
        limit_concurrency=CONNECTIONS, timeout_keep_alive=IDLE, timeout_graceful_shutdown=STOPPING,
    )  # fmt: skip
    server = uvicorn.Server(config)

    def stop(*_: object) -> None:
        server.should_exit = True

    # For a signal that comes before uvicorn listens to signals itself, and for the one that it
    # sends itself once more when it has stopped in order.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    host, port = listener.getsockname()[:2]
    telemetry.tell({"event": "listening", "host": host, "port": port})
    server.run(sockets=[listener])
    telemetry.tell({"event": "stopped"})
    return STOPPED


def _key(host: str) -> str | None:
    """The key of the environment; None where there is none and `host` is this machine alone."""
    key = os.environ.get(KEY)
    if key is None:
        if not _is_local(host):
            raise InputError(f"{KEY} is not set; without a key the service listens at 127.0.0.1")
        return None
    if len(key) < SHORTEST_KEY or not (key.isascii() and key.isprintable() and " " not in key):
        raise InputError(f"{KEY} must be {SHORTEST_KEY} or more printable ASCII characters")
    return key


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listener(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        raise InputError(f"--host: {host!r} is no address of this machine") from None
    try:
        return socket.create_server(address[:2], family=family, backlog=CONNECTIONS)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise InputError(f"port {port} of {host} cannot be listened at: {reason}") from None
