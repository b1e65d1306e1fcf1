# SPDX-License-Identifier: BSD-3-Clause
"""Tags and blobs."""

from collections import namedtuple
from ctypes import byref, c_size_t, c_uint32, c_uint64, c_void_p

from . import errors
from ._ffi import (
    BlobBlock, BlobInfo, BlobReport, Buffer, NAME_VISITOR, check, count_of, lib, name_of, score_of,
)
from .task import Task

_REPLACE, _EXCLUSIVE = 1, 2

Info = namedtuple("Info", "size score modified_ns read_ns")
Info.__doc__ = "What is known of a blob; times are nanoseconds after 1970, read_ns 0: never."
Block = namedtuple("Block", "target target_offset blob_offset size")
Block.__doc__ = "Bytes of a blob that lie side by side in a target; target None: with the metadata."
Report = namedtuple("Report", "size score bytes_moved targets")
Report.__doc__ = "Where a blob lies after reorganize(): targets is a dict of name: bytes used."


def _text(name):
    return name.decode(errors="surrogateescape")


def collect_names(walk):
    """The names that walk(visitor, context) visits."""
    names = []

    @NAME_VISITOR
    def visit(_, name):
        names.append(_text(name))
        return 0

    check(walk(visit, None))
    return names


class Tag:
    """A named set of blobs; made by Client.tag().  A blob is an array of bytes, with POSIX semantics.

    Wherever data is given, any object with the buffer protocol will do, contiguous; it is not copied
    on the way.  Names are str, bytes or paths.
    """

    def __init__(self, client, handle, name):
        self._client = client
        self._handle = handle
        self.name = name
        client._tags.add(self)

    # ---- the tag itself ----

    @property
    def _open(self):
        if not self._handle:
            raise ValueError("the tag is closed")
        return self._handle

    def close(self):
        """Frees the handle; the tag and its blobs stay."""
        if self._handle:
            lib.cte_tag_close(self._handle)
            self._handle = None
            self._client._tags.discard(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, "_handle", None) and self._client._handle:
            self.close()

    @property
    def id(self):
        """(major, minor)"""
        found = lib.cte_tag_get_id(self._open)
        return found.major, found.minor

    @property
    def size(self):
        """Sum of the sizes of the blobs."""
        size = c_uint64()
        check(lib.cte_tag_size(self._open, byref(size)), self.name)
        return size.value

    def list(self, regex=None, limit=0):
        """Names of the blobs, in no order; those in which a POSIX extended regular expression is
        found; `limit` of them at most, 0: all."""
        if regex is None and limit == 0:
            return collect_names(lambda *rest: lib.cte_tag_list(self._open, *rest))
        pattern = name_of("" if regex is None else regex, "regex")
        most = count_of(limit, "limit")
        return collect_names(
            lambda *rest: lib.cte_tag_list_matching(self._open, pattern, most, *rest))

    def __iter__(self):
        return iter(self.list())

    def __len__(self):
        return len(self.list())

    def __bool__(self):
        return True

    def __contains__(self, name):
        try:
            self.info(name)
        except errors.NotFoundError:
            return False
        return True

    # ---- bytes ----

    def put(self, name, data, offset=None, score=1.0, exclusive=False):
        """Stores bytes.  Without `offset` the blob consists of them afterwards; with it they go
        there, and the rest stays.  `exclusive`: ExistsError if there is such a blob."""
        with Buffer(data) as buffer:
            check(lib.cte_blob_put(*self._put_arguments(name, buffer, offset, score, exclusive)),
                  name)

    def put_async(self, name, data, offset=None, score=1.0, exclusive=False):
        """Starts put(); `data` must not change until the task is complete."""
        buffer = Buffer(data)
        arguments = self._put_arguments(name, buffer, offset, score, exclusive)
        return Task(lambda task: lib.cte_blob_put_async(*arguments, None, task), (buffer,),
                    lambda: None, name)

    def _put_arguments(self, name, buffer, offset, score, exclusive):
        flags = _EXCLUSIVE if exclusive else _REPLACE if offset is None else 0
        at = 0 if offset is None else count_of(offset, "offset")
        return (self._open, name_of(name), at, buffer.address, buffer.size, score_of(score), flags)

    def append(self, name, data, score=1.0):
        """Stores bytes behind the last one there is; returns where they begin."""
        offset = c_uint64()
        with Buffer(data) as buffer:
            check(lib.cte_blob_append(self._open, name_of(name), buffer.address, buffer.size,
                                      score_of(score), byref(offset)), name)
        return offset.value

    def append_async(self, name, data, score=1.0):
        """Starts append(); `data` must not change until the task is complete."""
        offset = c_uint64()
        buffer = Buffer(data)
        arguments = (self._open, name_of(name), buffer.address, buffer.size, score_of(score),
                     byref(offset))
        return Task(lambda task: lib.cte_blob_append_async(*arguments, None, task), (buffer,),
                    lambda: offset.value, name)

    def get_into(self, name, target, offset=0):
        """Reads as many bytes as `target`, a writable buffer, has room for, all of one state of the
        blob; returns how many there were."""
        count = c_size_t()
        with Buffer(target, writable=True) as buffer:
            check(lib.cte_blob_get(self._open, name_of(name), count_of(offset, "offset"),
                                   buffer.address, buffer.size, byref(count)), name)
        return count.value

    def get_into_async(self, name, target, offset=0):
        """Starts get_into()."""
        count = c_size_t()
        buffer = Buffer(target, writable=True)
        arguments = (self._open, name_of(name), count_of(offset, "offset"), buffer.address,
                     buffer.size, byref(count))
        return Task(lambda task: lib.cte_blob_get_async(*arguments, None, task), (buffer,),
                    lambda: count.value, name)

    def get(self, name, offset=0, size=None):
        """Reads `size` bytes from `offset` on, or (None) all there are: bytes.  Fewer at the end."""
        offset = count_of(offset, "offset")
        if size is not None:
            data = bytearray(count_of(size, "size"))
            return bytes(memoryview(data)[:self.get_into(name, data, offset)])
        while True:
            # One byte more than there is: if that is read too, the blob has grown.
            data = bytearray(max(0, self.info(name).size - offset) + 1)
            count = self.get_into(name, data, offset)
            if count < len(data):
                return bytes(memoryview(data)[:count])

    def delete(self, name):
        """Deletes a blob."""
        check(lib.cte_blob_delete(self._open, name_of(name)), name)

    def delete_async(self, name):
        """Starts delete()."""
        arguments = (self._open, name_of(name))
        return Task(lambda task: lib.cte_blob_delete_async(*arguments, None, task), (),
                    lambda: None, name)

    __getitem__ = get
    __setitem__ = put
    __delitem__ = delete

    # ---- what is known, names, places ----

    def info(self, name):
        found = BlobInfo()
        check(lib.cte_blob_get_info(self._open, name_of(name), byref(found)), name)
        return Info(found.size_bytes, found.score, found.modified_ns, found.read_ns)

    def blocks(self, name):
        """Where the bytes lie now: a list of Block."""
        capacity = 16
        while True:
            found, count = (BlobBlock * capacity)(), c_uint32()
            check(lib.cte_blob_blocks(self._open, name_of(name), found, capacity, byref(count)),
                  name)
            if count.value <= capacity:
                return [Block(_text(b.target) or None, b.target_offset, b.blob_offset,
                              b.size_bytes) for b in found[:count.value]]
            capacity = count.value

    def rename(self, name, new_name, replace=False):
        """Gives a blob another name; `replace`: a blob that has it is deleted by the same step."""
        check(lib.cte_blob_rename(self._open, name_of(name), name_of(new_name),
                                  _REPLACE if replace else 0), name)

    def move(self, name, new_tag, new_name=None, replace=False):
        """Moves a blob into another tag."""
        if not isinstance(new_tag, Tag):
            raise TypeError(f"new_tag must be a Tag, not {type(new_tag).__name__}")
        check(lib.cte_blob_move(self._open, name_of(name), new_tag._open,
                                name_of(name if new_name is None else new_name),
                                _REPLACE if replace else 0), name)

    def reorganize(self, name, score):
        """Gives a blob a score and moves it where that belongs; returns a Report."""
        report = BlobReport()
        check(lib.cte_blob_reorganize(self._open, name_of(name), score_of(score), byref(report)),
              name)
        return self._report(report)

    def reorganize_async(self, name, score):
        """Starts reorganize()."""
        report = BlobReport()
        arguments = (self._open, name_of(name), score_of(score), byref(report))
        return Task(lambda task: lib.cte_blob_reorganize_async(*arguments, None, task), (),
                    lambda: self._report(report), name)

    @staticmethod
    def _report(report):
        held = report.targets[:min(report.target_count, len(report.targets))]
        return Report(report.size_bytes, report.score, report.bytes_moved,
                      {_text(t.name): t.bytes_used for t in held})


def open_tag(opener, client, name):
    """A Tag of what `opener(byref(handle))` opens."""
    handle = c_void_p()
    check(opener(byref(handle)), name)
    return Tag(client, handle, name)
