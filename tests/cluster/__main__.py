"""`python3 -m tests.cluster up|down|status|env`."""

from __future__ import annotations

import argparse
import sys

from tests.cluster import layout
from tests.cluster.say import Trouble


def main() -> int:
    """Run one command; returns the exit code: 1 for trouble, and for `status` of a cluster that does not run whole."""
    description = "A real mixed-architecture Kubernetes cluster on this machine."
    parser = argparse.ArgumentParser(prog="python3 -m tests.cluster", description=description)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="build what is missing, start what does not run, wait until pods run on both nodes")
    commands.add_parser("down", help="stop everything and remove all that was made on the machine")
    commands.add_parser("status", help="what runs and what does not; exit 1 unless all is well")
    commands.add_parser("env", help="print the variables to source, as in .cluster/env")
    command = parser.parse_args().command
    try:
        return _run(command)
    except Trouble as trouble:
        print(f"error: {trouble}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(command: str) -> int:
    # Each command imports only its own parts: `down` must work where those of `up` do not.
    match command:
        case "up":
            from tests.cluster.up import up

            up()
        case "down":
            from tests.cluster.down import down

            down()
        case "status":
            from tests.cluster.status import status

            return status()
        case _:
            if not layout.STATE.env.exists():
                raise Trouble("no cluster was made in this checkout: python3 -m tests.cluster up")
            print(layout.STATE.env.read_text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
