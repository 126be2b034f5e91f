"""`python -m stress.bench`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stress.arguments import packages_of

from .options import make_parser

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, and do what they say.

    Ends with status 2 and says why where that cannot be.
    """
    parser = make_parser()
    options = parser.parse_args(arguments)
    with packages_of("bench", parser):
        from .command import UnfitOptionError, carry_out
    try:
        carry_out(options)
    except UnfitOptionError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
