# SPDX-License-Identifier: BSD-3-Clause
"""cte: the node's own memory and disks for the data of programs.

    import cte

    with cte.Client() as client, client.tag("results") as tag:
        tag.put("step-1", numpy_array)
        tag.get_into("step-1", another_array)

    with cte.open("/pfs/out.dat", "w+", drain="async") as file:
        file.pwrite(data, 0)

Needs only Python and libcte.so.  The calls of the library run without the interpreter's lock, and
are as thread-safe as the C functions: all are, except closing.
"""

from ._ffi import lib as _lib
from .client import (
    CacheUse, Client, Drained, Entry, StoredFile, Target, Usage, open_file as open,
)
from .config import Config
from .errors import (
    AccessError, CancelledError, ChecksumError, ConfigError, DrainError, Error, ExistsError,
    FileMissingError, InvalidError, NamespaceError, NoSpaceError, NoTargetError, NotFoundError,
    StoreCorruptError, StoreLayoutError, StoreOwnerError, WaitTimeoutError,
)
from .file import File, Stats
from .tag import Block, Info, Report, Tag
from .task import Task, wait_all, wait_any

__version__ = _lib.cte_version().decode()

__all__ = [
    "AccessError", "Block", "CacheUse", "CancelledError", "ChecksumError", "Client", "Config",
    "ConfigError", "DrainError", "Drained", "Entry", "Error", "ExistsError", "File",
    "FileMissingError", "Info", "InvalidError", "NamespaceError", "NoSpaceError", "NoTargetError",
    "NotFoundError", "Report", "Stats", "StoreCorruptError", "StoreLayoutError", "StoreOwnerError",
    "StoredFile", "Tag", "Target", "Task", "Usage", "WaitTimeoutError", "open", "wait_all",
    "wait_any",
]
