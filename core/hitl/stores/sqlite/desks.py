"""What a lane's thread does with its jobs: one look after the other, or all writes that wait in one transaction."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from hitl.errors import Refused, StoreUnavailable
from hitl.stores.sqlite.file import Identity, connect, unavailable
from hitl.stores.sqlite.lanes import Job, Outcome
from hitl.stores.sqlite.rows import Requests, Transaction
from hitl.stores.sqlite.schema import ensure_schema
from hitl.stores.sqlite.turns import Turns


class ReadingDesk:
    """Looks at the file as it is now."""

    def __init__(self, path: Path, identity: Identity, *, patience: float) -> None:
        self._path = path
        self._identity = identity
        self._requests = Requests(connect(path, patience=patience, reading=True), path)

    def serve(self, jobs: Sequence[Job[Requests]]) -> list[Outcome]:
        return [self._look(job) for job in jobs]

    def close(self) -> None:
        self._requests.connection.close()

    def _look(self, job: Job[Requests]) -> Outcome:
        try:
            self._identity.check()
            return job(self._requests), None
        except sqlite3.Error as error:
            return None, unavailable(self._path, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the caller, not to this thread
            return None, error


class WritingDesk:
    """Group commit: all jobs in one transaction, each undone alone if it fails, none acknowledged before the fsync."""

    def __init__(
        self,
        path: Path,
        identity: Identity,
        *,
        patience: float,
        clock: Callable[[], datetime],
        new_uid: Callable[[], str],
    ) -> None:
        self._path = path
        self._identity = identity
        self._clock = clock
        self._new_uid = new_uid
        self._turns = Turns(path, patience=patience)
        try:
            self._connection = connect(path, patience=patience, reading=False)
            try:
                with self._turns.taken():
                    self._prepare()
            except BaseException:
                self._connection.close()
                raise
        except BaseException:
            self._turns.close()
            raise

    def serve(self, jobs: Sequence[Job[Transaction]]) -> list[Outcome]:
        try:
            with self._turns.taken():
                self._identity.check()
                return self._commit(jobs)
        except sqlite3.Error as error:
            # Also a job that only found a Conflict: it may have looked at what another job of this transaction wrote.
            return [(None, unavailable(self._path, error)) for _ in jobs]
        except StoreUnavailable as error:
            return [(None, StoreUnavailable(str(error))) for _ in jobs]
        except Exception as error:  # noqa: BLE001 - this thread must go on, and everybody must get an answer
            return [(None, StoreUnavailable(f"{self._path}: {error!r}; nothing was half-written")) for _ in jobs]

    def close(self) -> None:
        self._connection.close()
        self._turns.close()

    def _prepare(self) -> None:
        ensure_schema(self._connection, self._path)
        mode = self._connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise StoreUnavailable(f"{self._path}: its file system does not support shared memory; use a local disk")

    def _commit(self, jobs: Sequence[Job[Transaction]]) -> list[Outcome]:
        self._roll_back()  # whatever a failed transaction may have left open
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            transaction = Transaction(self._connection, self._path, clock=self._clock, new_uid=self._new_uid)
            outcomes = [self._change(transaction, job) for job in jobs]
            transaction.finish()
            self._connection.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        return outcomes

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _change(self, transaction: Transaction, job: Job[Transaction]) -> Outcome:
        self._connection.execute("SAVEPOINT job")
        try:
            outcome: Outcome = (job(transaction), None)
        except sqlite3.IntegrityError as error:
            outcome = (None, Refused(f"{self._path}: {error}; read the request again and decide again"))
        except sqlite3.Error as error:
            if not self._connection.in_transaction:
                raise  # SQLite undid all of it by itself, as it does when the disk is full
            outcome = (None, unavailable(self._path, error))
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the caller, not to this thread
            outcome = (None, error)
        if outcome[1] is not None:
            self._connection.execute("ROLLBACK TO job")
        self._connection.execute("RELEASE job")
        return outcome
