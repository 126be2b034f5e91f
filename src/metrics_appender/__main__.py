"""`python -m metrics_appender`: the same as the command `metrics-appender`."""

import sys


def main() -> None:
    """Run the command line, or print what to install for it."""
    try:
        from .cli.app import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"typer", "rich"}:
            raise
        sys.exit(
            "metrics-appender: the command line needs Typer and Rich; install them with: "
            "pip install 'metrics-appender[cli]'"
        )
    run()


if __name__ == "__main__":
    main()
