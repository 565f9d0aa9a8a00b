"""The options of the command."""

from __future__ import annotations

import argparse
from pathlib import Path

from .command import DEFAULT_RELAY, DEFAULT_STATE

DEFAULT_VECTORS = Path(__file__).resolve().parents[2] / "vectors"


def parser() -> argparse.ArgumentParser:
    """All subcommands; `action` is the method of command.Command."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--state", type=Path, default=Path(DEFAULT_STATE), help="state file")
    runs = argparse.ArgumentParser(add_help=False)
    runs.add_argument("--relay", metavar="URL", help=f"if not given: {DEFAULT_RELAY}")
    runs.add_argument("--yes", action="store_true", help="approve without asking (for tests)")
    runs.add_argument(
        "--allow-different-network", action="store_true", help="answer the second question (tests)"
    )
    runs.add_argument("--name", help="name of a device without a state; else the host's")

    top = argparse.ArgumentParser(
        prog="handfast_spec", description="Handfast from its text, for checks: no real secrets."
    )
    commands = top.add_subparsers(dest="command", required=True)

    check = commands.add_parser("check", help="run every check")
    check.add_argument("--vectors", type=Path, default=DEFAULT_VECTORS, help="vectors folder")

    init = commands.add_parser("init", parents=[common], help="make an account on this device")
    init.add_argument("--account", required=True, metavar="LABEL")
    init.add_argument("--name", required=True, help="name of this device")
    init.set_defaults(action="init")

    bundle = commands.add_parser("bundle", help="look into the bundle, or change it")
    parts = bundle.add_subparsers(dest="part", required=True)
    put = parts.add_parser("set", parents=[common])
    put.add_argument("entry", metavar="NAME")
    put.add_argument("file", metavar="FILE", type=Path)
    put.set_defaults(action="bundle_set")
    get = parts.add_parser("get", parents=[common])
    get.add_argument("entry", metavar="NAME")
    get.set_defaults(action="bundle_get")
    parts.add_parser("list", parents=[common]).set_defaults(action="bundle_list")

    invite = commands.add_parser("invite", parents=[common, runs], help="T: show a code")
    invite.add_argument("--qr", action="store_true", help="show a QR code instead")
    invite.add_argument("--once", action="store_true", help="do not replace a dead offer")
    invite.set_defaults(action="invite")

    approve = commands.add_parser("approve", parents=[common, runs], help="T: scan a new device")
    approve.add_argument("--scan", required=True, metavar="TEXT", help="text of the QR code")
    approve.set_defaults(action="approve")

    join = commands.add_parser("join", parents=[common, runs], help="N: get an account")
    way = join.add_mutually_exclusive_group(required=True)
    way.add_argument("code", nargs="?", metavar="CODE", help="the code that T shows")
    way.add_argument("--qr", action="store_true", help="show a QR code")
    way.add_argument("--scan", metavar="TEXT", help="text of the QR code that T shows")
    join.set_defaults(action="join")

    unlock = commands.add_parser("unlock", parents=[common, runs], help="N: get some items, once")
    unlock.add_argument("--qr", action="store_true", help="show a QR code (the only way)")
    unlock.add_argument("--key", action="store_true", help="ask for the account unlock key")
    unlock.add_argument("entries", nargs="*", metavar="ENTRY")
    unlock.set_defaults(action="unlock")

    status = commands.add_parser("status", parents=[common], help="what this device has")
    status.set_defaults(action="status")
    return top
