# SPDX-License-Identifier: BSD-3-Clause
"""The C side: the library, its structs and functions, and buffers without copies.

The declarations follow include/cte/*.h; the tests compare the layout of every struct with what a
C compiler makes of the headers.
"""

import ctypes
import os
from ctypes import (
    CFUNCTYPE, POINTER, Structure, byref, c_bool, c_char, c_char_p, c_float, c_int, c_int32,
    c_size_t, c_ssize_t, c_uint32, c_uint64, c_void_p, py_object,
)

from . import errors


# ---- the library ------------------------------------------------------------------------------

def _candidates():
    """Where the library may be: as the environment says, as this module was installed or lies in a
    source tree with a build, as the loader finds it."""
    named = os.environ.get("CTE_LIBRARY")
    if named:
        return [named]
    here = os.path.dirname(os.path.abspath(__file__))
    found = []
    try:
        from ._installed import LIBRARY_DIRECTORY  # written by the installation
        found.append(os.path.join(here, LIBRARY_DIRECTORY, "libcte.so.0"))
    except ImportError:
        pass
    return [path for path in found if os.path.exists(path)] + ["libcte.so.0"]


def _load():
    failure = None
    for path in _candidates():
        try:
            return ctypes.CDLL(path)
        except OSError as error:
            failure = error
    raise ImportError(f"the library of cte cannot be loaded ({failure}); name it by CTE_LIBRARY")


lib = _load()

# ---- structs ----------------------------------------------------------------------------------


class TagId(Structure):
    _fields_ = [("major", c_uint32), ("minor", c_uint32)]


class BlobId(Structure):
    _fields_ = [("major", c_uint32), ("minor", c_uint32)]


class BlobInfo(Structure):
    _fields_ = [("size_bytes", c_uint64), ("score", c_float), ("modified_ns", c_uint64),
                ("read_ns", c_uint64)]


class BlobBlock(Structure):
    _fields_ = [("target", c_char * 256), ("target_offset", c_uint64), ("blob_offset", c_uint64),
                ("size_bytes", c_uint64)]


class ReportTarget(Structure):
    _fields_ = [("name", c_char * 256), ("bytes_used", c_uint64)]


class BlobReport(Structure):
    _fields_ = [("size_bytes", c_uint64), ("bytes_moved", c_uint64), ("score", c_float),
                ("target_count", c_uint32), ("targets", ReportTarget * 16)]


class TargetInfo(Structure):
    _fields_ = [("name", c_char * 256), ("label", c_char * 64), ("kind", c_char * 16),
                ("state", c_int), ("score", c_float), ("manual_score", c_bool),
                ("measured", c_bool), ("bytes_per_s", c_uint64), ("latency_ns", c_uint64),
                ("capacity_bytes", c_uint64), ("free_bytes", c_uint64), ("bytes_read", c_uint64),
                ("bytes_written", c_uint64), ("reads", c_uint64), ("writes", c_uint64),
                ("failures", c_uint32)]


class CacheStats(Structure):
    _fields_ = [("hits", c_uint64), ("misses", c_uint64), ("cached_bytes", c_uint64),
                ("limit_bytes", c_uint64)]


class StoreUsage(Structure):
    _fields_ = [(name, c_uint64) for name in
                ("metadata_bytes", "metadata_capacity_bytes", "segment_bytes", "bytes_drained",
                 "bytes_drained_background", "bytes_evicted", "bytes_written_through",
                 "drain_failures")]


class StoreFile(Structure):
    _fields_ = [("path", c_char_p), ("size_bytes", c_uint64), ("mode", c_int), ("drain", c_int),
                ("dirty", c_bool), ("open", c_bool)]


class StoreDrained(Structure):
    _fields_ = [("path", c_char_p), ("status", c_int), ("bytes_drained", c_uint64),
                ("deleted", c_bool)]


class TelemetryEntry(Structure):
    _fields_ = [("op", c_int), ("status", c_int), ("offset", c_uint64), ("size", c_uint64),
                ("blob_id", BlobId), ("tag_id", TagId), ("modified_ns", c_uint64),
                ("read_ns", c_uint64), ("logical_time", c_uint64), ("duration_ns", c_uint64),
                ("pid", c_uint32), ("rank", c_int32), ("target", c_uint32)]


class FileOptions(Structure):
    _fields_ = [("size", c_size_t), ("mode", c_int), ("drain", c_int), ("score", c_float),
                ("comm", c_void_p), ("chunk_bytes", c_uint64)]


class FileSegment(Structure):
    _fields_ = [("offset", c_uint64), ("length", c_size_t), ("base", c_void_p)]


class FileStats(Structure):
    _fields_ = [(name, c_uint64) for name in
                ("bytes_written", "bytes_read", "bytes_written_through", "bytes_read_store",
                 "bytes_drained", "drain_ns", "bytes_drained_background", "writes", "reads")]


#: By their C names, for the test that compares them.
STRUCTS = {
    "cte_tag_id": TagId, "cte_blob_id": BlobId, "cte_blob_info": BlobInfo,
    "cte_blob_block": BlobBlock, "cte_blob_report": BlobReport, "cte_target_info": TargetInfo,
    "cte_cache_stats": CacheStats, "cte_store_usage": StoreUsage, "cte_store_file": StoreFile,
    "cte_store_drained": StoreDrained, "cte_telemetry_entry": TelemetryEntry,
    "cte_file_options": FileOptions, "cte_file_segment": FileSegment, "cte_file_stats": FileStats,
}

# ---- functions --------------------------------------------------------------------------------

NAME_VISITOR = CFUNCTYPE(c_int, c_void_p, c_char_p)
TAG_VISITOR = CFUNCTYPE(c_int, c_void_p, c_char_p, TagId)
BLOB_VISITOR = CFUNCTYPE(c_int, c_void_p, c_char_p, c_char_p)
CONFIG_VISITOR = CFUNCTYPE(c_int, c_void_p, c_char_p, c_char_p, c_char_p)
FILE_VISITOR = CFUNCTYPE(c_int, c_void_p, POINTER(StoreFile))
DRAIN_VISITOR = CFUNCTYPE(c_int, c_void_p, POINTER(StoreDrained))

_handle, _out = c_void_p, POINTER(c_void_p)
_task = [c_void_p, POINTER(c_void_p)]  # callback, task

#: name: (result, parameters); all that return c_int return a status.
FUNCTIONS = {
    "cte_version": (c_char_p, []),
    "cte_status_string": (c_char_p, [c_int]),
    "cte_status_name": (c_char_p, [c_int]),
    "cte_status_errno": (c_int, [c_int]),
    "cte_config_load": (c_int, [c_char_p, _out, c_char_p, c_size_t]),
    "cte_config_parse": (c_int, [c_char_p, c_char_p, _out, c_char_p, c_size_t]),
    "cte_config_new": (c_int, [_out, c_char_p, c_size_t]),
    "cte_config_set": (c_int, [_handle, c_char_p, c_char_p, c_char_p, c_size_t]),
    "cte_config_add_target": (c_int, [_handle, c_char_p, c_char_p, c_char_p, c_char_p, c_size_t]),
    "cte_config_target_count": (c_uint32, [_handle]),
    "cte_config_get": (c_int, [_handle, c_char_p, c_char_p, c_size_t]),
    "cte_config_visit": (c_int, [_handle, CONFIG_VISITOR, c_void_p]),
    "cte_config_free": (None, [_handle]),
    "cte_client_open": (c_int, [_handle, _out]),
    "cte_client_close": (c_int, [_handle]),
    "cte_client_targets": (c_int, [_handle, POINTER(TargetInfo), c_uint32, POINTER(c_uint32)]),
    "cte_client_cache_stats": (c_int, [_handle, POINTER(CacheStats)]),
    "cte_client_flush": (c_int, [_handle, c_int, POINTER(c_uint64)]),
    "cte_client_tags": (c_int, [_handle, NAME_VISITOR, c_void_p]),
    "cte_store_open_existing": (c_int, [_handle, _out]),
    "cte_store_path": (c_int, [_handle, c_char_p, c_size_t]),
    "cte_store_processes": (c_int, [_handle, POINTER(c_uint32), c_uint32, POINTER(c_uint32)]),
    "cte_store_get_usage": (c_int, [_handle, POINTER(StoreUsage)]),
    "cte_store_files": (c_int, [_handle, FILE_VISITOR, c_void_p]),
    "cte_store_drain": (c_int, [_handle, c_char_p, c_bool, DRAIN_VISITOR, c_void_p]),
    "cte_store_forget_missing": (c_int, [_handle, c_char_p, DRAIN_VISITOR, c_void_p]),
    "cte_store_destroy": (c_int, [_handle, c_bool]),
    "cte_target_register": (c_int, [_handle, _handle, c_uint32]),
    "cte_target_unregister": (c_int, [_handle, c_char_p]),
    "cte_tag_open": (c_int, [_handle, c_char_p, c_bool, _out]),
    "cte_tag_create": (c_int, [_handle, c_char_p, TagId, _out]),
    "cte_tag_open_id": (c_int, [_handle, TagId, _out]),
    "cte_tag_close": (None, [_handle]),
    "cte_tag_get_id": (TagId, [_handle]),
    "cte_tag_size": (c_int, [_handle, POINTER(c_uint64)]),
    "cte_tag_list": (c_int, [_handle, NAME_VISITOR, c_void_p]),
    "cte_tag_list_matching": (c_int, [_handle, c_char_p, c_uint64, NAME_VISITOR, c_void_p]),
    "cte_tag_delete": (c_int, [_handle, c_char_p]),
    "cte_tag_query": (c_int, [_handle, c_char_p, c_int, c_uint64, TAG_VISITOR, c_void_p]),
    "cte_blob_query": (c_int, [_handle, c_char_p, c_char_p, c_int, c_uint64, BLOB_VISITOR,
                               c_void_p]),
    "cte_blob_put": (c_int, [_handle, c_char_p, c_uint64, c_void_p, c_size_t, c_float, c_uint32]),
    "cte_blob_append": (c_int, [_handle, c_char_p, c_void_p, c_size_t, c_float, POINTER(c_uint64)]),
    "cte_blob_get": (c_int, [_handle, c_char_p, c_uint64, c_void_p, c_size_t, POINTER(c_size_t)]),
    "cte_blob_rename": (c_int, [_handle, c_char_p, c_char_p, c_uint32]),
    "cte_blob_move": (c_int, [_handle, c_char_p, _handle, c_char_p, c_uint32]),
    "cte_blob_delete": (c_int, [_handle, c_char_p]),
    "cte_blob_get_info": (c_int, [_handle, c_char_p, POINTER(BlobInfo)]),
    "cte_blob_size": (c_int, [_handle, c_char_p, POINTER(c_uint64)]),
    "cte_blob_blocks": (c_int, [_handle, c_char_p, POINTER(BlobBlock), c_uint32,
                                POINTER(c_uint32)]),
    "cte_blob_reorganize": (c_int, [_handle, c_char_p, c_float, POINTER(BlobReport)]),
    "cte_blob_put_async": (c_int, [_handle, c_char_p, c_uint64, c_void_p, c_size_t, c_float,
                                   c_uint32] + _task),
    "cte_blob_append_async": (c_int, [_handle, c_char_p, c_void_p, c_size_t, c_float,
                                      POINTER(c_uint64)] + _task),
    "cte_blob_get_async": (c_int, [_handle, c_char_p, c_uint64, c_void_p, c_size_t,
                                   POINTER(c_size_t)] + _task),
    "cte_blob_delete_async": (c_int, [_handle, c_char_p] + _task),
    "cte_blob_reorganize_async": (c_int, [_handle, c_char_p, c_float, POINTER(BlobReport)] + _task),
    "cte_client_flush_async": (c_int, [_handle, c_int, POINTER(c_uint64)] + _task),
    "cte_task_wait": (c_int, [_handle, c_int]),
    "cte_task_test": (c_bool, [_handle]),
    "cte_task_status": (c_int, [_handle]),
    "cte_task_wait_any": (c_int, [_out, c_size_t, c_int, POINTER(c_size_t)]),
    "cte_task_wait_all": (c_int, [_out, c_size_t, c_int]),
    "cte_task_cancel": (c_bool, [_handle]),
    "cte_task_free": (None, [_handle]),
    "cte_telemetry_poll": (c_int, [_handle, c_uint64, POINTER(TelemetryEntry), c_size_t,
                                   POINTER(c_size_t), POINTER(c_uint64)]),
    "cte_telemetry_op_name": (c_char_p, [c_int]),
    "cte_file_open": (c_int, [_handle, c_char_p, c_int, c_uint32, POINTER(FileOptions), _out]),
    "cte_file_is_tracked": (c_bool, [_handle]),
    "cte_file_chunk_bytes": (c_uint64, [_handle]),
    "cte_file_write": (c_int, [_handle, POINTER(FileSegment), c_size_t]),
    "cte_file_read": (c_int, [_handle, POINTER(FileSegment), c_size_t, POINTER(c_uint64)]),
    "cte_file_write_async": (c_int, [_handle, POINTER(FileSegment), c_size_t] + _task),
    "cte_file_read_async": (c_int, [_handle, POINTER(FileSegment), c_size_t, POINTER(c_uint64)]
                            + _task),
    "cte_file_size": (c_int, [_handle, POINTER(c_uint64)]),
    "cte_file_truncate": (c_int, [_handle, c_uint64]),
    "cte_file_allocate": (c_int, [_handle, c_uint64]),
    "cte_file_sync": (c_int, [_handle]),
    "cte_file_flush": (c_int, [_handle]),
    "cte_file_drain": (c_int, [_handle]),
    "cte_file_refresh": (c_int, [_handle]),
    "cte_file_get_stats": (None, [_handle, POINTER(FileStats)]),
    "cte_file_close": (c_int, [_handle]),
}

for _name, (_result, _parameters) in FUNCTIONS.items():
    _function = getattr(lib, _name)
    _function.restype = _result
    _function.argtypes = _parameters


def check(status, subject=None):
    """Raises the exception of a status that is not 0."""
    if status < 0:
        raise errors.error_of(status, lib.cte_status_string(status).decode(),
                              lib.cte_status_errno(status), subject)


# ---- arguments --------------------------------------------------------------------------------

def name_of(name, what="name"):
    """Bytes of a str, bytes or path without NUL."""
    if not isinstance(name, (str, bytes, os.PathLike)):
        raise TypeError(f"{what} must be str, bytes or a path, not {type(name).__name__}")
    encoded = os.fsencode(name)
    if b"\0" in encoded:
        raise ValueError(f"{what} must not contain a null character")
    return encoded


def count_of(number, what, most=2**63 - 1):
    """An integer from 0 to `most`."""
    try:
        value = number.__index__()
    except AttributeError:
        raise TypeError(f"{what} must be an integer, not {type(number).__name__}") from None
    if not 0 <= value <= most:
        raise ValueError(f"{what} must be from 0 to {most}, not {value}")
    return value


def score_of(score):
    if isinstance(score, bool) or not isinstance(score, (int, float)):
        raise TypeError(f"score must be a number, not {type(score).__name__}")
    if not 0 <= score <= 1:
        raise ValueError(f"score must be from 0 to 1, not {score}")
    return float(score)


class _PyBuffer(Structure):
    """Py_buffer, as CPython's stable interface has it."""

    _fields_ = [("buf", c_void_p), ("obj", c_void_p), ("len", c_ssize_t), ("itemsize", c_ssize_t),
                ("readonly", c_int), ("ndim", c_int), ("format", c_char_p),
                ("shape", POINTER(c_ssize_t)), ("strides", POINTER(c_ssize_t)),
                ("suboffsets", POINTER(c_ssize_t)), ("internal", c_void_p)]


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = [py_object, POINTER(_PyBuffer), c_int]
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = [POINTER(_PyBuffer)]
_release_buffer.restype = None
_SIMPLE, _WRITABLE = 0, 1


class Buffer:
    """The memory of an object that has the buffer protocol (bytes, bytearray, memoryview, array,
    numpy array, ...), held without a copy until release().  It must be contiguous."""

    def __init__(self, source, writable=False):
        self._view = _PyBuffer()
        self._held = False
        if isinstance(source, str):
            raise TypeError("text must be encoded: give bytes")
        _get_buffer(source, byref(self._view), _WRITABLE if writable else _SIMPLE)
        self._held = True
        self.size = self._view.len
        self.address = self._view.buf if self.size else None

    def release(self):
        if self._held:
            self._held = False
            _release_buffer(byref(self._view))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()

    def __del__(self):
        self.release()
