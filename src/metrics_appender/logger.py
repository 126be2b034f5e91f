"""What the library says of its own accord, through `logging`: the logger `metrics_appender`.

Only what nobody asked for and somebody should know: damage that was met and dealt with, and work in
the background that failed. `logging` is imported when there is something to say, not with this
package.
"""

from __future__ import annotations

from typing import Final

LOGGER: Final = "metrics_appender"


def warn(message: str, *arguments: object) -> None:
    """Log a warning.

    To be called with no lock held, for a handler may take its time or append to a log itself.
    """
    import logging

    try:
        logging.getLogger(LOGGER).warning(message, *arguments)
    except Exception:  # noqa: BLE001 - a handler that fails must not make a failure of what went well
        if logging.raiseExceptions:  # as `logging` itself does with what its handlers raise
            import traceback

            traceback.print_exc()
