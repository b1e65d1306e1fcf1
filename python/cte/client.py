# SPDX-License-Identifier: BSD-3-Clause
"""Clients: this process's attachment to the node's store."""

import weakref
from collections import namedtuple
from ctypes import byref, c_size_t, c_uint32, c_uint64, c_void_p

from . import errors
from ._ffi import (
    BLOB_VISITOR, CacheStats, DRAIN_VISITOR, FILE_VISITOR, StoreUsage, TAG_VISITOR, TagId,
    TargetInfo, TelemetryEntry, check, count_of, lib, name_of,
)
from .config import Config
from .file import File
from .tag import Tag, _text, collect_names, open_tag
from .task import Task

Target = namedtuple("Target", "name label kind state score score_given measured bytes_per_s "
                              "latency_ns capacity_bytes free_bytes bytes_read bytes_written reads "
                              "writes failures")
StoredFile = namedtuple("StoredFile", "path size mode drain dirty open")
Drained = namedtuple("Drained", "path bytes_drained error deleted")
Drained.__doc__ = "What became of a file: error is None or an exception."
Entry = namedtuple("Entry", "op status offset size blob_id tag_id modified_ns read_ns logical_time "
                            "duration_ns pid rank target")
Entry.__doc__ = "An operation that was recorded: rank None: not known, target None: none or several."
CacheUse = namedtuple("CacheUse", "hits misses cached_bytes limit_bytes")
Usage = namedtuple("Usage", [name for name, _ in StoreUsage._fields_])

_STATES = ("active", "draining", "failed")
_MODES = ("config", "default", "scratch", "bypass")
_DRAINS = ("config", "on_close", "async", "never")
_LEVELS = {"process": 0, "node": 1}
_NO_TARGET = 255


class Client:
    """Attaches to the node's store, making it if needed.

    config    a Config, the path of a YAML file, or None: as Config()
    existing  attach only to a store that is there, else NotFoundError; closing drains nothing then

    Use it as a context manager, or close() it: what is open of it is closed first.
    """

    def __init__(self, config=None, *, existing=False):
        self._handle = None
        self._tags = weakref.WeakSet()
        self._files = weakref.WeakSet()
        if not isinstance(config, Config):
            config = Config(config)
        self.store_path = config.store_path
        handle = c_void_p()
        opener = lib.cte_store_open_existing if existing else lib.cte_client_open
        check(opener(config._handle, byref(handle)), self.store_path)
        self._handle = handle

    @property
    def _open(self):
        if not self._handle:
            raise ValueError("the client is closed")
        return self._handle

    def close(self):
        """Detaches.  The first failure of what is closed is raised, when all is closed."""
        failure = None
        if not self._handle:
            return
        for file in list(self._files):
            try:
                file.close()
            except errors.Error as error:
                failure = failure or error
        for tag in list(self._tags):
            tag.close()
        handle, self._handle = self._handle, None
        status = lib.cte_client_close(handle)
        if failure:
            raise failure
        check(status, self.store_path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, "_handle", None):
            try:
                self.close()
            except errors.Error:
                pass  # said in the log, and the data is kept

    # ---- tags and blobs ----

    def tag(self, name, create=True, id=None):
        """Opens a tag; NotFoundError if it does not exist and `create` is false.  `id`: (major,
        minor) that it gets, or must have."""
        encoded = name_of(name)
        if id is not None:
            wanted = TagId(*(count_of(n, "id", 2**32 - 1) for n in id))
            return open_tag(lambda out: lib.cte_tag_create(self._open, encoded, wanted, out), self,
                            name)
        return open_tag(lambda out: lib.cte_tag_open(self._open, encoded, bool(create), out), self,
                        name)

    def delete_tag(self, name):
        """Deletes a tag with all its blobs."""
        check(lib.cte_tag_delete(self._open, name_of(name)), name)

    def tags(self):
        """Names of all tags."""
        return collect_names(lambda *rest: lib.cte_client_tags(self._open, *rest))

    def query_tags(self, regex, limit=0):
        """Names and ids of the tags in whose name a regular expression is found: a dict."""
        found = {}

        @TAG_VISITOR
        def visit(_, name, id):
            found[_text(name)] = (id.major, id.minor)
            return 0

        check(lib.cte_tag_query(self._open, name_of(regex, "regex"), 0, count_of(limit, "limit"),
                                visit, None), regex)
        return found

    def query_blobs(self, tag_regex, blob_regex, limit=0):
        """(tag, blob) of the blobs in whose names the expressions are found."""
        found = []

        @BLOB_VISITOR
        def visit(_, tag, blob):
            found.append((_text(tag), _text(blob)))
            return 0

        check(lib.cte_blob_query(self._open, name_of(tag_regex, "tag_regex"),
                                 name_of(blob_regex, "blob_regex"), 0, count_of(limit, "limit"),
                                 visit, None), blob_regex)
        return found

    def flush(self, level="node"):
        """Makes what was put survive the death of processes, or of the node; returns the bytes that
        cannot, because they are in memory."""
        if level not in _LEVELS:
            raise ValueError(f"level must be 'process' or 'node', not {level!r}")
        left = c_uint64()
        check(lib.cte_client_flush(self._open, _LEVELS[level], byref(left)))
        return left.value

    def flush_async(self, level="node"):
        """Starts flush()."""
        if level not in _LEVELS:
            raise ValueError(f"level must be 'process' or 'node', not {level!r}")
        left = c_uint64()
        handle = self._open
        return Task(lambda task: lib.cte_client_flush_async(handle, _LEVELS[level], byref(left), None,
                                                            task), (), lambda: left.value, None)

    # ---- targets ----

    def targets(self):
        """The storage targets, highest score first."""
        infos, count = (TargetInfo * 64)(), c_uint32()
        check(lib.cte_client_targets(self._open, infos, len(infos), byref(count)))
        return [Target(_text(t.name), _text(t.label), t.kind.decode(), _STATES[t.state], t.score,
                       t.manual_score, t.measured, t.bytes_per_s, t.latency_ns, t.capacity_bytes,
                       t.free_bytes, t.bytes_read, t.bytes_written, t.reads, t.writes, t.failures)
                for t in infos[:min(count.value, len(infos))]]

    def register_target(self, kind, capacity, path=None, score=None):
        """Adds a target while the store is in use."""
        config = Config.defaults()
        config.add_target(kind, capacity, path, score)
        check(lib.cte_target_register(self._open, config._handle, 0), path)

    def unregister_target(self, name):
        """Moves what a target holds to the others, and removes it."""
        check(lib.cte_target_unregister(self._open, name_of(name)), name)

    # ---- files ----

    def open(self, path, mode="r", **options):
        """Opens a file through the tiers: see File.  Options: policy ("default", "scratch",
        "bypass"), drain ("on_close", "async", "never"), score, chunk_bytes, permissions."""
        self._open
        return File(self, path, mode, **options)

    def files(self):
        """Files that the store has data of, or that a process has open."""
        found = []

        @FILE_VISITOR
        def visit(_, pointer):
            f = pointer.contents
            found.append(StoredFile(_text(f.path), f.size_bytes, _MODES[f.mode], _DRAINS[f.drain],
                                    f.dirty, f.open))
            return 0

        check(lib.cte_store_files(self._open, visit, None))
        return found

    def drain(self, path=None, force=False):
        """Drains files that nobody has open, all or one, and forgets them; `force`: also those whose
        policy is "never".  Returns a list of Drained; raises nothing if a file cannot be drained."""
        return self._visit_drained(
            path, lambda named, visit: lib.cte_store_drain(self._open, named, bool(force), visit,
                                                           None))

    def forget_missing(self, path=None):
        """Gives up what is kept of files, all or one, that are not where they were, nor anywhere else
        that they can be found: deleted ones.  Returns a list of Drained, as drain() does."""
        return self._visit_drained(
            path, lambda named, visit: lib.cte_store_forget_missing(self._open, named, visit, None))

    def _visit_drained(self, path, call):
        found = []

        @DRAIN_VISITOR
        def visit(_, pointer):
            d = pointer.contents
            error = None
            if d.status < 0:
                error = errors.error_of(d.status, lib.cte_status_string(d.status).decode(),
                                        lib.cte_status_errno(d.status), d.path)
            found.append(Drained(_text(d.path), d.bytes_drained, error, d.deleted))
            return 0

        status = call(None if path is None else name_of(path, "path"), visit)
        if not any(drained.error for drained in found):
            check(status, path)
        return found

    # ---- the store ----

    def processes(self):
        """Ids of the other processes that are attached."""
        pids, count = (c_uint32 * 4096)(), c_uint32()
        check(lib.cte_store_processes(self._open, pids, len(pids), byref(count)))
        return pids[:min(count.value, len(pids))]

    def usage(self):
        """What the store takes besides its targets, and what was drained and given up, in bytes."""
        found = StoreUsage()
        check(lib.cte_store_get_usage(self._open, byref(found)))
        return Usage(*(getattr(found, name) for name in Usage._fields))

    def cache_stats(self):
        """What the memory for copies of blobs did in this process."""
        found = CacheStats()
        check(lib.cte_client_cache_stats(self._open, byref(found)))
        return CacheUse(found.hits, found.misses, found.cached_bytes, found.limit_bytes)

    def telemetry(self, since=0, limit=1024):
        """Operations that were recorded later than a logical time, oldest first, `limit` at most, and
        how many were lost: (list of Entry, dropped).  To go on, pass the last entry's
        logical_time."""
        most = max(1, count_of(limit, "limit", 2**31))
        entries, count, dropped = (TelemetryEntry * most)(), c_size_t(), c_uint64()
        check(lib.cte_telemetry_poll(self._open, count_of(since, "since", 2**64 - 1), entries, most,
                                     byref(count), byref(dropped)))
        return [self._entry(e) for e in entries[:count.value]], dropped.value

    @staticmethod
    def _entry(e):
        return Entry(lib.cte_telemetry_op_name(e.op).decode(), e.status, e.offset, e.size,
                     (e.blob_id.major, e.blob_id.minor), (e.tag_id.major, e.tag_id.minor),
                     e.modified_ns, e.read_ns, e.logical_time, e.duration_ns, e.pid,
                     None if e.rank < 0 else e.rank, None if e.target == _NO_TARGET else e.target)


def open_file(path, mode="r", **options):
    """Opens a file through the tiers by the process's default client; see File and Client.open().
    If there is no store for it the file passes through to the file system."""
    return File(None, path, mode, **options)


__all__ = ["Client", "Tag", "open_file"]
