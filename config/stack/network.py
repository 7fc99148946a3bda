"""What the launcher and the system checks must know of addresses and ports."""

import contextlib
import errno
import ipaddress
import os
import socket

from config.stack.terminal import Trouble

_HIGHEST_PORT = 65_535


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach the host. Wildcards and unknown names count as public."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def is_taken(host: str, port: int) -> bool:
    """Tell whether another process listens on the port; the port stays free afterwards."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as trial:
        # As servers do: a port in TIME_WAIT from the run before is free.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise
    return False


def free_port() -> int:
    """Return a port that nobody used a moment ago."""
    with contextlib.closing(socket.socket()) as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def reachable(host: str) -> str:
    """Return the address by which this machine reaches a server bound to the host."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound


def address(host: str, port: int) -> str:
    """Return the URL a person on this machine opens."""
    name = reachable(host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def port_of(variable: str, default: int) -> int:
    """Read a port from the environment; raises Trouble for what is none."""
    value = os.environ.get(variable) or str(default)
    if not (value.isdecimal() and 0 < int(value) <= _HIGHEST_PORT):
        raise Trouble(f"{variable} is {value!r}; use a whole number from 1 to {_HIGHEST_PORT}. Nothing was changed.")
    return int(value)


def ask_for(host: str, port: int, variable: str) -> None:
    """Raise Trouble, with what to do, unless a server could listen here now."""
    try:
        taken = is_taken(host, port)
    except OSError as error:
        raise Trouble(
            f"This machine cannot listen on {host}:{port} ({error.strerror}). Check HOST and {variable}."
        ) from error
    if taken:
        raise Trouble(
            f"Port {port} is taken by another program. Nothing was changed. "
            f"Stop it, or choose another: make run {variable}={port + 1}"
        )
