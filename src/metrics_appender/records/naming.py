"""Names: the four files of a skill, which names a file can have, the default directory."""

from __future__ import annotations

import os
import unicodedata
from typing import TYPE_CHECKING, Any, Final

from ..errors import Fault, InvalidRecordError, show
from .convert import is_text

if TYPE_CHECKING:
    from collections.abc import Mapping

PERFORMANCE: Final = "_performance.json"
OUTCOMES: Final = "_outcomes.json"
FIDELITY: Final = "_fidelity.json"
PROMOTION_LOG: Final = "_promotion_log.json"

ENVIRONMENT_VARIABLE: Final = "METRICS_APPENDER_DIR"
_ENGINE: Final = os.path.join("modules", "infrastructure", "wre_core")
_METRICS: Final = os.path.join("recursive_improvement", "metrics")
_LONGEST_NAME_BYTES: Final = 255
_SEPARATORS: Final = frozenset("/\\")


def file_name(skill_name: str, suffix: str) -> str:
    """Return the name of a skill's file; `skill_name` is a `str` itself, of no subclass.

    Raises:
        InvalidRecordError: the name could leave the directory, or no file can have it.

    Example:
        >>> file_name("YouTube Live Chat", PERFORMANCE)
        'YouTube Live Chat_performance.json'
    """
    fault = name_fault("skill_name", skill_name, suffix)
    if fault:
        raise InvalidRecordError((fault,))
    return skill_name + suffix


def check_file_name(filename: str) -> str:
    """Return the name of a file to read or seal, as a `str` itself.

    Raises `InvalidRecordError` where the name could leave the directory.
    """
    filename = plain_text(filename)
    fault = name_fault("filename", filename)
    if fault:
        raise InvalidRecordError((fault,), outcome="")
    return filename


def plain_text(value: Any) -> Any:
    """Return a text of any subclass as a `str` itself, and any other value as it is.

    Subclasses join in ways of their own: markupsafe's escapes what it is joined to.
    """
    return str.__str__(value) if isinstance(value, str) else value


def name_fault(field: str, name: Any, suffix: str = "") -> Fault | None:
    """Return what is wrong with a file name, or with a name that a file name begins with.

    Returns `None` where nothing is wrong.
    """
    reason = _reason_against(name, suffix)
    return Fault(field, show(name), reason) if reason else None


def _reason_against(name: Any, suffix: str) -> str:
    if not isinstance(name, str):
        return "pass text (str)"
    if not is_text(name):
        return "it holds lone surrogates, which a file name in UTF-8 cannot; pass whole characters"
    if name in {"", ".", ".."} or not _SEPARATORS.isdisjoint(name):
        return (
            "pass a name that a file can have: not empty, not '.', not '..', "
            "and without '/' and '\\'"
        )
    if any(unicodedata.category(character) == "Cc" for character in name):
        return "pass a name without control characters"
    length = len((name + suffix).encode())
    if length > _LONGEST_NAME_BYTES:
        return (
            f"its file name has {length} bytes; "
            f"pass a shorter one, {_LONGEST_NAME_BYTES} are the most"
        )
    return ""


def absolute_path(field: str, path: str | os.PathLike[str]) -> str:
    """Return a path as an absolute text; a path in bytes is decoded as `os.fsdecode` does.

    Raises `InvalidRecordError` where no file can have that path.
    """
    try:
        text = str.__str__(os.fsdecode(path))
        is_sound = b"\0" not in os.fsencode(text)
    except (TypeError, UnicodeEncodeError):
        is_sound = False
    if not is_sound:
        remedy = "pass a path, as text or as os.PathLike, of characters that a file name can have"
        raise InvalidRecordError((Fault(field, show(path), remedy),))
    return os.path.abspath(text)


def metrics_directory(metrics_dir: str | os.PathLike[str] | None) -> str:
    """Return a directory of metrics as an absolute path; the default one for `None`."""
    if metrics_dir is None:
        return default_directory()
    return absolute_path("metrics_dir", metrics_dir)


def default_directory(environ: Mapping[str, str] = os.environ) -> str:
    """Return the directory of the metrics where the caller names none, as an absolute path.

    That is `$METRICS_APPENDER_DIR` if it is set; else, below the working directory,
    `modules/infrastructure/wre_core/recursive_improvement/metrics` if `wre_core` exists, and
    `recursive_improvement/metrics` if not.
    """
    chosen = environ.get(ENVIRONMENT_VARIABLE)
    if not chosen:
        chosen = os.path.join(_ENGINE, _METRICS) if os.path.isdir(_ENGINE) else _METRICS
    return os.path.abspath(chosen)
