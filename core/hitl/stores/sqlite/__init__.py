"""Approval requests in one SQLite file, for one machine: the hub and every reviewer's program open it side by side.

`schema` says what the file holds and refuses, `file` how it is opened, `turns` who writes when, `rows` reads and writes
single requests, `lanes` are the threads it happens on, `changes` follows what others write, `store` puts them together.
"""

from hitl.stores.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]
