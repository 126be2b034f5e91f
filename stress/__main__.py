"""The command of the stress suite: `python -m stress soak --hours H`."""

from __future__ import annotations

import argparse
import signal
import sys

from .arguments import packages_of, span, whole_number


def main() -> int:
    """Parse the arguments and run the soak."""
    parser = argparse.ArgumentParser(prog="python -m stress", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    soaking = commands.add_parser(
        "soak", help="all scenarios mixed, with random seeds, up to the first fault"
    )
    soaking.add_argument(
        "--hours", type=span, default=1.0, help="how long to go on (1); the last round is finished"
    )
    soaking.add_argument("--seed", type=int, help="the seed of the first round (random)")
    soaking.add_argument(
        "--rounds", type=whole_number(1), help="end after so many rounds (no limit)"
    )
    arguments = parser.parse_args()
    with packages_of("test", parser):
        from . import soak
    # SIGTERM ends a soak as Ctrl-C does: processes are reaped and disks unmounted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return soak.soak(arguments.hours, arguments.seed, arguments.rounds)


if __name__ == "__main__":
    sys.exit(main())
