"""What one would take instead, each in its best honest configuration.

Which was read from its source.
"""

from __future__ import annotations

from typing import Final

from .databases import LMDB, SQLITE_FULL, SQLITE_NORMAL
from .locked_files import FILELOCK, FILELOCK_QUICK, PORTALOCKER, PORTALOCKER_BLOCKING
from .loggers import CONCURRENT_HANDLER, FILE_HANDLER, JSONLINES, LOGURU

DURABLE: Final = (SQLITE_FULL, LMDB, FILELOCK, FILELOCK_QUICK, PORTALOCKER, PORTALOCKER_BLOCKING)
NOT_DURABLE: Final = (SQLITE_NORMAL, CONCURRENT_HANDLER, LOGURU, FILE_HANDLER, JSONLINES)
