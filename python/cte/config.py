# SPDX-License-Identifier: BSD-3-Clause
"""Configurations."""

from ctypes import byref, c_void_p, create_string_buffer

from . import errors
from ._ffi import CONFIG_VISITOR, check, lib, name_of

_ERROR_BYTES = 1024


def _checked(status, text, subject=None):
    """As check(), with the library's own words on what is wrong."""
    if status < 0 and text.value:
        raise errors.error_of(status, text.value.decode(errors="replace"),
                              lib.cte_status_errno(status), subject)
    check(status, subject)


class Config:
    """A configuration: of a YAML file, or (without one) of CTE_CONFIG, WRP_RUNTIME_CONF or the
    defaults; CTE_* variables go on top.  Keys are those of docs/CONFIGURATION.md:

        config = cte.Config()
        config["file.drain"] = "async"
        config.add_target("ram", "8GB")

    Values are text, as in YAML without quotes.  A wrong key or value raises ConfigError and changes
    nothing.  Clients copy it when they are opened.
    """

    def __init__(self, path=None, *, _open=None):
        self._handle = c_void_p()
        error = create_string_buffer(_ERROR_BYTES)
        if _open is None:
            named = None if path is None else name_of(path, "path")
            status = lib.cte_config_load(named, byref(self._handle), error, _ERROR_BYTES)
        else:
            status = _open(byref(self._handle), error, _ERROR_BYTES)
        _checked(status, error)

    @classmethod
    def parse(cls, text, name="text"):
        """Of YAML text; `name` stands for the source in errors."""
        if not isinstance(text, str):
            raise TypeError(f"text must be str, not {type(text).__name__}")
        return cls(_open=lambda *rest: lib.cte_config_parse(name_of(text, "text"), name_of(name),
                                                            *rest))

    @classmethod
    def defaults(cls):
        """The built-in values and the CTE_* variables; no file is read."""
        return cls(_open=lib.cte_config_new)

    def __setitem__(self, key, value):
        error = create_string_buffer(_ERROR_BYTES)
        if isinstance(value, bool):
            value = "true" if value else "false"
        status = lib.cte_config_set(self._handle, name_of(key, "key"), name_of(str(value), "value"),
                                    error, _ERROR_BYTES)
        _checked(status, error)

    def __getitem__(self, key):
        text = create_string_buffer(65536)
        status = lib.cte_config_get(self._handle, name_of(key, "key"), text, len(text))
        if status == errors.NOT_FOUND:
            raise KeyError(key)
        check(status, key)
        return text.value.decode()

    def add_target(self, kind, capacity, path=None, score=None):
        """Adds a storage target; the first one replaces the default ones."""
        error = create_string_buffer(_ERROR_BYTES)
        status = lib.cte_config_add_target(
            self._handle, name_of(kind, "kind"), None if path is None else name_of(path, "path"),
            name_of(str(capacity), "capacity"), error, _ERROR_BYTES)
        _checked(status, error)
        if score is not None:
            self[f"storage[{self.target_count - 1}].score"] = score

    @property
    def target_count(self):
        return lib.cte_config_target_count(self._handle)

    def items(self):
        """All keys that have a value: (key, value, where it comes from)."""
        found = []

        @CONFIG_VISITOR
        def visit(_, key, value, origin):
            found.append((key.decode(), value.decode(), origin.decode()))
            return 0

        check(lib.cte_config_visit(self._handle, visit, None))
        return found

    @property
    def store_path(self):
        """The directory of the store, whether it exists or not."""
        text = create_string_buffer(4097)
        check(lib.cte_store_path(self._handle, text, len(text)))
        return text.value.decode(errors="surrogateescape")

    def destroy_store(self, force=False):
        """Removes the store with all its tags; `force`: also if data of files is lost."""
        check(lib.cte_store_destroy(self._handle, bool(force)), self.store_path)

    def __del__(self):
        if getattr(self, "_handle", None):
            lib.cte_config_free(self._handle)
            self._handle = None
