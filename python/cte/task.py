# SPDX-License-Identifier: BSD-3-Clause
"""Asynchronous operations."""

import math
from ctypes import byref, c_size_t, c_void_p

from . import errors
from ._ffi import check, lib


def _milliseconds(timeout):
    """None: as long as it takes."""
    if timeout is None:
        return -1
    return max(0, min(2**31 - 1, math.ceil(timeout * 1000)))


class Task:
    """An operation under way or complete.  Buffers that it was given belong to it until then: they
    cannot be resized, and what is in them may change.  A task that is dropped is waited for."""

    def __init__(self, start, buffers, result, subject):
        self._buffers = buffers
        self._result = result
        self._subject = subject
        self._handle = c_void_p()
        try:
            check(start(byref(self._handle)), subject)
        except BaseException:
            self._release()
            raise

    def _release(self):
        for buffer in self._buffers:
            buffer.release()
        self._buffers = ()

    def done(self):
        """True if it is complete."""
        return lib.cte_task_test(self._handle)

    def wait(self, timeout=None):
        """Waits, for `timeout` seconds at most; returns whether it is complete."""
        status = lib.cte_task_wait(self._handle, _milliseconds(timeout))
        if status == 0:
            self._release()
            return True
        try:
            check(status, self._subject)
        except errors.WaitTimeoutError:
            pass
        return False

    def result(self, timeout=None):
        """Waits, and returns what the operation without `_async` returns, or raises what it
        raises; WaitTimeoutError if it is not complete in time."""
        check(lib.cte_task_wait(self._handle, _milliseconds(timeout)), self._subject)
        self._release()
        check(lib.cte_task_status(self._handle), self._subject)
        return self._result()

    def cancel(self):
        """Cancels an operation that has not begun; returns whether that was so."""
        return lib.cte_task_cancel(self._handle)

    def __del__(self):
        if getattr(self, "_handle", None):
            lib.cte_task_wait(self._handle, -1)
            lib.cte_task_free(self._handle)
            self._handle = None
            self._release()


def _handles(tasks):
    return (c_void_p * max(1, len(tasks)))(*(task._handle for task in tasks))


def wait_all(tasks, timeout=None):
    """Waits until all tasks are complete; returns whether they are."""
    tasks = list(tasks)
    status = lib.cte_task_wait_all(_handles(tasks), len(tasks), _milliseconds(timeout))
    try:
        check(status)
    except errors.WaitTimeoutError:
        return False
    return True


def wait_any(tasks, timeout=None):
    """Waits until one task is complete, and returns it; None if none is in time."""
    tasks = list(tasks)
    index = c_size_t()
    status = lib.cte_task_wait_any(_handles(tasks), len(tasks), _milliseconds(timeout),
                                   byref(index))
    try:
        check(status)
    except errors.WaitTimeoutError:
        return None
    return tasks[index.value]
