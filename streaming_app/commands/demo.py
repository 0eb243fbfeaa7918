"""`python -m streaming_app demo`: everything on this machine, to watch."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's arguments."""
    parser = commands.add_parser("demo", help="watch orders arrive, on this machine alone")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="N", help="how long orders are sent (60)")
    parser.add_argument("--rate", type=float, default=20.0, metavar="N", help="orders a second (20)")
    parser.add_argument("--lake", type=Path, metavar="DIR", help="a new folder; by default one below build/demo/")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help=argparse.SUPPRESS)  # for the README
    parser.set_defaults(command=run_demo)


def run_demo(options: argparse.Namespace) -> int:
    """Run the demo; 0 when the audit passed and everything sent has arrived."""
    from streaming_app.demo.plan import make_plan  # noqa: PLC0415 - boto3 and rich: only where they are used
    from streaming_app.demo.show import show  # noqa: PLC0415 - see above

    return show(make_plan(options.seconds, options.rate, options.lake), picture=options.picture)
