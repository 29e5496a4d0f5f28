"""The SQLite store keeps every promise of the protocol."""

from stores.contract import StoreContract


class TestSQLiteStore(StoreContract):
    """Two stores here are two sets of connections on one file, as two processes have them."""
