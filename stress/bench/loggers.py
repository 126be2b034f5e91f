"""Loggers, and jsonlines: they hand a line to the kernel and never sync it."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any, Final

from .contender import Contender
from .record import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from .contender import Opener


def _logged(make_handler: Callable[[str], logging.Handler]) -> Opener:
    """Append through a handler, with what the documentation of `logging` advises for speed."""

    def opener(path: str, record: dict[str, Any], _: object) -> Callable[[], object]:
        # https://docs.python.org/3/howto/logging.html#optimization
        logging._srcfile = None
        logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
        logger = logging.Logger("bench")  # noqa: LOG001 - a logger of its own: nothing of the process's logging may take part
        logger.addHandler(make_handler(path))
        return lambda: logger.info(encode(record))

    return opener


def _concurrent_handler(path: str) -> logging.Handler:
    from concurrent_log_handler import ConcurrentRotatingFileHandler

    handler: logging.Handler = ConcurrentRotatingFileHandler(path, maxBytes=0, encoding="utf-8")
    return handler


def _add_loguru_sink(path: str) -> Any:
    """Configure the one process that writes.

    Those forked from it send their messages to its thread.
    """
    from loguru import logger

    logger.remove()
    logger.add(
        path, format="{message}", enqueue=True, colorize=False, backtrace=False, diagnose=False
    )
    return logger


def _loguru(path: str, record: dict[str, Any], logger: Any) -> Callable[[], object]:
    return lambda: logger.info(encode(record))


def _jsonlines(path: str, record: dict[str, Any], _: object) -> Callable[[], object]:
    import jsonlines

    return functools.partial(jsonlines.open(path, "a", compact=True, flush=True).write, record)


CONCURRENT_HANDLER: Final = Contender(
    "concurrent-log-handler",
    "maxBytes=0, files kept open, logging without caller and thread names",
    is_durable=False,
    is_process_safe=True,
    side="peer",
    open=_logged(_concurrent_handler),
    package="concurrent_log_handler",
)
LOGURU: Final = Contender(
    "loguru, enqueue",
    "one sink with enqueue=True, made before the fork; its process writes for all",
    is_durable=False,
    is_process_safe=True,
    side="peer",
    prepare=_add_loguru_sink,
    open=_loguru,
    package="loguru",
)
FILE_HANDLER: Final = Contender(
    "logging.FileHandler",
    "the standard library's, logging without caller and thread names",
    is_durable=False,
    is_process_safe=False,
    side="peer",
    open=_logged(lambda path: logging.FileHandler(path, encoding="utf-8")),
)
JSONLINES: Final = Contender(
    "jsonlines",
    'open(path, "a", compact=True, flush=True)',
    is_durable=False,
    is_process_safe=False,
    side="peer",
    open=_jsonlines,
    package="jsonlines",
)
