# SPDX-License-Identifier: BSD-3-Clause
"""Files through the tiers."""

import io
import os
import weakref
from collections import namedtuple
from ctypes import byref, c_uint64, c_void_p, sizeof

from ._ffi import (
    Buffer, FileOptions, FileSegment, FileStats, check, count_of, lib, name_of, score_of,
)
from .task import Task

_MODES = {None: 0, "default": 1, "scratch": 2, "bypass": 3}
_DRAINS = {None: 0, "on_close": 1, "async": 2, "never": 3}
_FLAGS = {"r": os.O_RDONLY, "r+": os.O_RDWR, "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
          "w+": os.O_RDWR | os.O_CREAT | os.O_TRUNC, "x": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
          "x+": os.O_RDWR | os.O_CREAT | os.O_EXCL}

Stats = namedtuple("Stats", [name for name, _ in FileStats._fields_])
Stats.__doc__ = "Totals of one handle since it was opened."


def _choice(choices, value, what):
    if value not in choices:
        names = ", ".join(repr(name) for name in choices if name)
        raise ValueError(f"{what} must be one of {names}, not {value!r}")
    return choices[value]


class File(io.RawIOBase):
    """A file of the file system, through the tiers of the node: what is written lands in the store
    and is drained to the file.  Made by Client.open() or cte.open().

    It is a raw binary file as io.FileIO is (io.BufferedReader and the like fit on top), and has
    pread(), pwrite() and their like, which leave the position alone.
    """

    def __init__(self, client, path, mode="r", *, policy=None, drain=None, score=None,
                 chunk_bytes=0, permissions=0o666):
        super().__init__()
        self._handle = None
        self._tasks = weakref.WeakSet()  # that have begun: closing waits for them
        plain = mode.replace("b", "")
        flags = _choice(_FLAGS, plain, "mode")
        options = FileOptions(
            sizeof(FileOptions), _choice(_MODES, policy, "policy"), _choice(_DRAINS, drain, "drain"),
            -1.0 if score is None else score_of(score), None, count_of(chunk_bytes, "chunk_bytes"))
        handle = c_void_p()
        check(lib.cte_file_open(client._open if client else None, name_of(path, "path"),
                                flags | os.O_CLOEXEC, permissions, byref(options), byref(handle)),
              path)
        self._client = client
        self._handle = handle
        self._position = 0
        self._readable = plain == "r" or "+" in plain
        self._writable = plain != "r"
        self.name = path
        self.mode = mode
        if client:
            client._files.add(self)

    @property
    def _open(self):
        if not self._handle:
            raise ValueError("the file is closed")
        return self._handle

    def close(self):
        """Closes; with `on_close` draining, returns when the file is complete.  If that fails the
        handle is gone all the same, and the data is kept for `cte drain`."""
        handle, self._handle = self._handle, None
        super().close()
        if handle:
            for task in list(self._tasks):
                task.wait()
            if self._client:
                self._client._files.discard(self)
            check(lib.cte_file_close(handle), self.name)

    # ---- at an offset ----

    def _begun(self, task):
        self._tasks.add(task)
        return task

    @staticmethod
    def _segment(buffer, offset):
        return FileSegment(count_of(offset, "offset"), buffer.size, buffer.address)

    def pwrite(self, data, offset):
        """Writes all of `data` at an offset; returns the number of bytes."""
        with Buffer(data) as buffer:
            check(lib.cte_file_write(self._open, byref(self._segment(buffer, offset)), 1),
                  self.name)
            return buffer.size

    def pwrite_async(self, data, offset):
        """Starts pwrite(); `data` must not change until the task is complete."""
        buffer = Buffer(data)
        size, handle, segment = buffer.size, self._open, self._segment(buffer, offset)
        return self._begun(Task(
            lambda task: lib.cte_file_write_async(handle, byref(segment), 1, None, task), (buffer,),
            lambda: size, self.name))

    def pread_into(self, target, offset):
        """Reads into a writable buffer; returns how many bytes there were before the end."""
        count = c_uint64()
        with Buffer(target, writable=True) as buffer:
            check(lib.cte_file_read(self._open, byref(self._segment(buffer, offset)), 1,
                                    byref(count)), self.name)
        return count.value

    def pread_into_async(self, target, offset):
        """Starts pread_into()."""
        count = c_uint64()
        buffer = Buffer(target, writable=True)
        handle, segment = self._open, self._segment(buffer, offset)
        return self._begun(Task(
            lambda task: lib.cte_file_read_async(handle, byref(segment), 1, byref(count), None, task),
            (buffer,), lambda: count.value, self.name))

    def pread(self, size, offset):
        """Reads up to `size` bytes."""
        data = bytearray(count_of(size, "size"))
        return bytes(memoryview(data)[:self.pread_into(data, offset)])

    # ---- as io.RawIOBase ----

    def readable(self):
        self._open
        return self._readable

    def writable(self):
        self._open
        return self._writable

    def seekable(self):
        self._open
        return True

    def readinto(self, target):
        if not self._readable:
            raise io.UnsupportedOperation("the file is not open for reading")
        count = self.pread_into(target, self._position)
        self._position += count
        return count

    def readall(self):
        data = self.pread(max(0, self.size - self._position), self._position) \
            if self._readable else self.readinto(bytearray(0))
        self._position += len(data)
        return data

    def write(self, data):
        if not self._writable:
            raise io.UnsupportedOperation("the file is not open for writing")
        count = self.pwrite(data, self._position)
        self._position += count
        return count

    def seek(self, offset, whence=os.SEEK_SET):
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: None}
        if whence not in base:
            raise ValueError(f"whence must be 0, 1 or 2, not {whence!r}")
        start = self.size if whence == os.SEEK_END else base[whence]
        self._position = count_of(start + offset, "the position")
        return self._position

    def tell(self):
        self._open
        return self._position

    def truncate(self, size=None):
        """Sets the size; cutting reaches the real file at once."""
        size = self._position if size is None else count_of(size, "size")
        check(lib.cte_file_truncate(self._open, size), self.name)
        return size

    def allocate(self, size):
        """Makes the file at least so long and reserves its space, as posix_fallocate()."""
        check(lib.cte_file_allocate(self._open, count_of(size, "size")), self.name)

    # ---- of the tiers ----

    @property
    def size(self):
        """Bytes, as all processes of the node see it."""
        size = c_uint64()
        check(lib.cte_file_size(self._open, byref(size)), self.name)
        return size.value

    @property
    def tracked(self):
        """True if it goes through the tiers, false if it passes through to the real file."""
        return lib.cte_file_is_tracked(self._open)

    @property
    def chunk_bytes(self):
        return lib.cte_file_chunk_bytes(self._open)

    def sync(self):
        """Makes written data as durable as the configuration promises (file.sync)."""
        check(lib.cte_file_sync(self._open), self.name)

    def drain(self):
        """Brings everything that any process of the node wrote to the real file."""
        check(lib.cte_file_drain(self._open), self.name)

    def refresh(self):
        """To be called after the real file was changed behind the library's back."""
        check(lib.cte_file_refresh(self._open), self.name)

    @property
    def stats(self):
        found = FileStats()
        lib.cte_file_get_stats(self._open, byref(found))
        return Stats(*(getattr(found, name) for name in Stats._fields))
