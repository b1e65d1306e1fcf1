# SPDX-License-Identifier: BSD-3-Clause
"""Exceptions: one class per status of the library, all of them cte.Error and OSError.

A status is 0, a negative errno value, or one of the library's own codes (include/cte/status.h).
Where Python has a class for the same thing (FileExistsError, TimeoutError, ...), ours is one of
those too.
"""

import errno
import os


class Error(OSError):
    """A call of the library failed.

    status    the code, negative
    name      its name, as "ENOSPC" or "CTE_ERR_DRAIN"
    errno     the closest errno value, strerror the text, filename what it was about (or None)
    """

    status = 0
    name = ""


class ConfigError(Error, ValueError):
    """The configuration is wrong; the text says where and what to do."""


class ChecksumError(Error):
    """Stored bytes are not what they were."""


class StoreLayoutError(Error):
    """The store was made by an incompatible version."""


class StoreOwnerError(Error, PermissionError):
    """The store or a target belongs to another user."""


class StoreCorruptError(Error):
    """The store's metadata is damaged."""


class NoTargetError(Error):
    """There is no usable storage target."""


class DrainError(Error):
    """Data could not be written to its file; it is kept in the store."""


class NotFoundError(Error, LookupError):
    """There is no such tag, blob or target, or no store."""


class NamespaceError(Error):
    """The store is in use from another PID namespace."""


class ExistsError(Error, FileExistsError):
    """There is one already."""


class FileMissingError(Error, FileNotFoundError):
    """There is no such file."""


class AccessError(Error, PermissionError):
    """Not permitted."""


class InvalidError(Error, ValueError):
    """An argument is wrong."""


class NoSpaceError(Error):
    """No target has room."""


class WaitTimeoutError(Error, TimeoutError):
    """It is not complete yet."""


class CancelledError(Error):
    """The operation was cancelled before it began."""


#: The library's own codes.
OWN = {
    -10001: ("CTE_ERR_CONFIG", ConfigError),
    -10002: ("CTE_ERR_CHECKSUM", ChecksumError),
    -10003: ("CTE_ERR_STORE_LAYOUT", StoreLayoutError),
    -10004: ("CTE_ERR_STORE_OWNER", StoreOwnerError),
    -10005: ("CTE_ERR_STORE_CORRUPT", StoreCorruptError),
    -10006: ("CTE_ERR_NO_TARGET", NoTargetError),
    -10007: ("CTE_ERR_DRAIN", DrainError),
    -10008: ("CTE_ERR_NOT_FOUND", NotFoundError),
    -10009: ("CTE_ERR_NAMESPACE", NamespaceError),
}

_BY_ERRNO = {
    errno.EEXIST: ExistsError,
    errno.ENOENT: FileMissingError,
    errno.EACCES: AccessError,
    errno.EPERM: AccessError,
    errno.EINVAL: InvalidError,
    errno.ENAMETOOLONG: InvalidError,
    errno.ENOSPC: NoSpaceError,
    errno.ETIMEDOUT: WaitTimeoutError,
    errno.ECANCELED: CancelledError,
}

CONFIG, DRAIN, NOT_FOUND = -10001, -10007, -10008


def error_of(status, text, closest, subject=None):
    """The exception of a status; `closest`: its errno value."""
    if status in OWN:
        name, kind = OWN[status]
    else:
        kind = _BY_ERRNO.get(-status, Error)
        name = errno.errorcode.get(-status, str(status))
    if subject is None:
        error = kind(closest, text)
    else:
        error = kind(closest, text, os.fsdecode(subject))
    error.status = status
    error.name = name
    return error
