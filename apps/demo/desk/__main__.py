"""`python -m apps.demo.desk` serves the simulated ticket desk; `… load FILE` fills its store."""

import argparse
import asyncio
import ipaddress
import json
import os
import signal
import socket
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from granian.constants import Interfaces
from granian.server.embed import Server

from apps.demo.desk import faults
from apps.demo.desk.fields import COLLECTIONS, problems_with_record
from apps.demo.desk.server import Desk
from apps.demo.desk.store import Store


def main(arguments: list[str]) -> int:
    """Serve or load; return the exit code. Every refusal is one sentence on stderr."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "load":
            return _load(options)
        return _serve(options)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"Ticket desk: {error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    environment = os.environ
    parser = argparse.ArgumentParser(prog="python -m apps.demo.desk", description="The demo's simulated ticket desk.")
    parser.add_argument("--store", default=environment.get("DESK_STORE", ".var/desk"), help="folder (DESK_STORE)")
    parser.add_argument("--host", default=environment.get("DESK_HOST", "127.0.0.1"), help="loopback (DESK_HOST)")
    parser.add_argument("--port", type=int, default=int(environment.get("DESK_PORT", "8100")), help="DESK_PORT")
    parser.add_argument(
        "--synchronous", choices=("normal", "full"), default=environment.get("DESK_SYNCHRONOUS", "normal")
    )
    parser.add_argument(
        "--faults", default=environment.get("DESK_FAULTS", ""), help="drop_after_write:0.1,latency:0.05"
    )
    commands = parser.add_subparsers(dest="command")
    load = commands.add_parser("load", help="add tickets and customers from a file of JSON lines")
    load.add_argument("file", type=Path)
    load.add_argument("--collection", choices=tuple(COLLECTIONS), help='for lines without "collection"')
    return parser


def _serve(options: argparse.Namespace) -> int:
    api_key = os.environ.get("DESK_API_KEY", "")
    if not api_key:
        raise ValueError("DESK_API_KEY is not set. Choose a key and give the same one to the connector.")
    if not ipaddress.ip_address(options.host).is_loopback:
        raise ValueError(f"{options.host} is not a loopback address. The desk's pages have no login.")
    _ensure_free(options.host, options.port)
    store = Store(Path(options.store), synchronous=options.synchronous)
    desk = Desk(store, api_key, os.environ.get("START_ID", ""), faults.parse(options.faults))
    try:
        asyncio.run(_run(desk, options.host, options.port))
    finally:
        store.close()
    return 0


async def _run(desk: Desk, host: str, port: int) -> None:
    """One process: the server runs inside this loop and drains its connections before it stops."""
    server = Server(
        desk, address=host, port=port, interface=Interfaces.ASGINL, websockets=False, log_enabled=False, backlog=512
    )
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, server.stop)
    sys.stdout.write(f"Simulated ticket desk on http://{host}:{port}/\n")
    sys.stdout.flush()
    await server.serve()


def _ensure_free(host: str, port: int) -> None:
    """Refuse a taken port in words; the server itself would share it silently or panic."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            raise OSError(f"port {port} on {host} is taken. Set DESK_PORT to another one.") from None


def _load(options: argparse.Namespace) -> int:
    """Check every line first: either the whole file is loaded, or nothing of it."""
    records: dict[str, list[dict[str, Any]]] = defaultdict(list)
    problems: list[str] = []
    with options.file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                collection, record, found = _parsed(line, options.collection)
                problems += [f"line {number}: {problem}" for problem in found]
                records[collection].append(record)
    if problems:
        sys.stderr.write("\n".join([*problems[:20], f"Nothing was loaded: {len(problems)} problems."]) + "\n")
        return 1
    counts: Counter[str] = Counter()
    store = Store(Path(options.store))
    try:
        for collection, rows in records.items():
            counts["created"], counts["existing"] = (
                old + new
                for old, new in zip((counts["created"], counts["existing"]), store.add(collection, rows), strict=True)
            )
    finally:
        store.close()
    sys.stdout.write(f"Loaded {counts['created']:,} records; {counts['existing']:,} were there already.\n")
    return 0


def _parsed(line: str, fallback: str | None) -> tuple[str, dict[str, Any], list[str]]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return "", {}, ["is not JSON."]
    if not isinstance(record, dict):
        return "", {}, ["is not a JSON object."]
    collection = record.pop("collection", fallback)
    if collection not in COLLECTIONS:
        return "", {}, [f'needs "collection": {" or ".join(COLLECTIONS)}.']
    return collection, record, [problem.message for problem in problems_with_record(collection, record)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
