"""Warnings of the library, sent to the logger `metrics_appender` of `logging`.

There are two kinds: damage that was found and recovered from, and work in the background that
failed. `logging` is imported with the first warning, not with this package.
"""

from __future__ import annotations

from typing import Final

LOGGER: Final = "metrics_appender"


def warn(message: str, *arguments: object) -> None:
    """Log a warning.

    The caller must hold no lock: a handler may be slow, or append to a log itself.
    """
    import logging

    try:
        logging.getLogger(LOGGER).warning(message, *arguments)
    except Exception:  # noqa: BLE001 - a failing handler must not make a successful append fail
        if logging.raiseExceptions:  # as `logging` itself reports the errors of handlers
            import traceback

            traceback.print_exc()
