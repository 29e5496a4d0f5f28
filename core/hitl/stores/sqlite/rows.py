"""Requests as rows: looking at them on one connection, and changing them inside one transaction."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from hitl.approvals.conditions import outcome
from hitl.approvals.requests import ApprovalRequest, Decision, Note, RequestSpec, RequestStatus, State
from hitl.approvals.transitions import guard, guard_opening, with_decision, with_note
from hitl.errors import AlreadyExists, Conflict, InvalidInput, NotFound, StoreUnavailable
from hitl.kube.codecs import TIME
from hitl.kube.requests import spec_to_json, status_to_json, stored_request
from hitl.stores.protocol import Known

# The words of state as the indices have them, so that SQLite uses these.
_GET: Final = "SELECT * FROM requests WHERE namespace = :namespace AND name = :name"
_ALL: Final = """SELECT * FROM requests WHERE (:namespace IS NULL OR namespace = :namespace)
    ORDER BY created, namespace, name"""
_ALL_OPEN: Final = """SELECT * FROM requests WHERE state IN ('Pending', 'Approved')
    AND (:namespace IS NULL OR namespace = :namespace) ORDER BY created, namespace, name"""
_OPEN_OF: Final = """SELECT * FROM requests WHERE state IN ('Pending', 'Approved')
    AND namespace = :namespace AND workload = :workload ORDER BY created, name"""
_DENIED: Final = """SELECT * FROM requests WHERE namespace = :namespace AND workload = :workload AND denied >= :since
    ORDER BY denied, created, name"""
_CHANGED: Final = """SELECT * FROM requests WHERE change > :change
    AND (:namespace IS NULL OR namespace = :namespace) ORDER BY change LIMIT :most"""
_INSERT: Final = """INSERT INTO requests (namespace, name, uid, created, workload, state, change, spec, status)
    VALUES (:namespace, :name, :uid, :created, :workload, :state, :change, :spec, :status)
    ON CONFLICT (namespace, name) DO NOTHING"""
_UPDATE: Final = """UPDATE requests SET state = :state, denied = :denied, change = :change, status = :status
    WHERE namespace = :namespace AND name = :name"""
_DELETE: Final = "DELETE FROM requests WHERE namespace = :namespace AND name = :name"


class Requests:
    """What can be seen through one connection. Every method raises sqlite3.Error, or StoreUnavailable for a bad row."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self._path = path

    def get(self, namespace: str, name: str) -> ApprovalRequest:
        row = self.connection.execute(_GET, {"namespace": namespace, "name": name}).fetchone()
        if row is None:
            raise NotFound(f"there is no approval request {namespace}/{name}; see what there is: hitl list")
        return self._request(row)

    def all(self, namespace: str | None, *, pending_only: bool) -> list[ApprovalRequest]:
        return self._requests(_ALL_OPEN if pending_only else _ALL, namespace=namespace)

    def open_of(self, namespace: str, workload: str) -> list[ApprovalRequest]:
        return self._requests(_OPEN_OF, namespace=namespace, workload=workload)

    def denied_since(self, namespace: str, workload: str, since: datetime) -> list[ApprovalRequest]:
        return self._requests(_DENIED, namespace=namespace, workload=workload, since=TIME.write(since))

    def changes(self) -> int:
        """How many changes the file has seen."""
        return int(self.connection.execute("SELECT count FROM changes").fetchone()[0])

    def changed_after(
        self, change: int, namespace: str | None, most: int, known: Known | None = None
    ) -> tuple[int, list[ApprovalRequest], bool]:
        """Requests that changed after `change`, in the order of their last change; how far that goes; is there more.

        At most `most` are looked at, and those that are `known` left out. Looking on from there misses nothing: what is
        passed over belongs to other namespaces or changed again.
        """
        seen = self.changes()
        parameters = {"change": change, "namespace": namespace, "most": most}
        rows = self.connection.execute(_CHANGED, parameters).fetchall()
        more = len(rows) == most
        if rows:
            last = int(rows[-1]["change"])
            seen = last if more else max(seen, last)
        found = [
            self._request(row)
            for row in rows
            if known is None or not known(row["namespace"], row["name"], str(row["change"]))
        ]
        return seen, found, more

    def _requests(self, statement: str, **parameters: object) -> list[ApprovalRequest]:
        return [self._request(row) for row in self.connection.execute(statement, parameters)]

    def _request(self, row: sqlite3.Row) -> ApprovalRequest:
        metadata = {
            "namespace": row["namespace"],
            "name": row["name"],
            "uid": row["uid"],
            "resourceVersion": str(row["change"]),
            "creationTimestamp": row["created"],
        }
        try:
            return stored_request(metadata, row["spec"], row["status"])
        except InvalidInput as error:
            raise StoreUnavailable(
                f"{self._path}: request {row['namespace']}/{row['name']} cannot be read: {error}; it was changed by "
                "hand or by another release. Stop hitl and restore the file, or move it away for the auditor"
            ) from error


class Transaction(Requests):
    """What can be changed. Each method changes one row or raises before it changed anything.

    Args:
        connection: inside BEGIN IMMEDIATE; nobody else writes until it ends.
        path: for messages.
        clock: the store's time.
        new_uid: names a new request for good.
    """

    def __init__(
        self, connection: sqlite3.Connection, path: Path, *, clock: Callable[[], datetime], new_uid: Callable[[], str]
    ) -> None:
        super().__init__(connection, path)
        self._clock = clock
        self._new_uid = new_uid
        self._before = self._count = self.changes()

    def create(self, namespace: str, name: str, spec: RequestSpec, status: RequestStatus) -> ApprovalRequest:
        created = self._clock()
        guard_opening(status, created)
        row = {
            "namespace": namespace,
            "name": name,
            "uid": self._new_uid(),
            "created": TIME.write(created),
            "workload": spec.workload,
            "state": status.state.value,
            "change": self._count + 1,
            "spec": spec_to_json(spec).decode(),
            "status": status_to_json(status).decode(),
        }
        if self.connection.execute(_INSERT, row).rowcount != 1:
            raise AlreadyExists(f"there is an approval request {namespace}/{name} already; read it and attach to it")
        self._count += 1
        return ApprovalRequest(
            namespace=namespace,
            name=name,
            uid=row["uid"],
            version=str(row["change"]),
            created=TIME.read(row["created"]),
            spec=spec,
            status=status,
        )

    def write_status(self, request: ApprovalRequest, status: RequestStatus) -> ApprovalRequest:
        stored = self._same(request)
        if stored.version != request.version:
            raise Conflict(
                f"{request.handle} is at version {stored.version} by now, not {request.version}; "
                "read it and decide again"
            )
        return self._write(stored, status)

    def decide(self, namespace: str, name: str, decision: Decision) -> ApprovalRequest:
        stored = self.get(namespace, name)
        return self._write(stored, with_decision(stored, decision, self._clock()))

    def note(self, namespace: str, name: str, note: Note) -> ApprovalRequest:
        stored = self.get(namespace, name)
        return self._write(stored, with_note(stored, note, self._clock()))

    def delete(self, request: ApprovalRequest) -> None:
        self._same(request)
        self.connection.execute(_DELETE, {"namespace": request.namespace, "name": request.name})

    def finish(self) -> None:
        """Last step before COMMIT."""
        if self._count != self._before:
            self.connection.execute("UPDATE changes SET count = ?", (self._count,))

    def _same(self, request: ApprovalRequest) -> ApprovalRequest:
        """The request as stored; NotFound also where its name is another one's by now."""
        stored = self.get(request.namespace, request.name)
        if stored.uid != request.uid:
            raise NotFound(f"{request.handle} with uid {request.uid} is gone; uid {stored.uid} has its name now")
        return stored

    def _write(self, stored: ApprovalRequest, status: RequestStatus) -> ApprovalRequest:
        guard(stored, status)
        if status == stored.status:
            return stored  # nothing changed: no new version, nobody is woken
        denial = outcome(status.conditions, State.DENIED)
        change = self._count + 1
        self.connection.execute(
            _UPDATE,
            {
                "state": status.state.value,
                "denied": TIME.write(denial.last_transition_time) if denial else None,
                "change": change,
                "status": status_to_json(status).decode(),
                "namespace": stored.namespace,
                "name": stored.name,
            },
        )
        self._count = change
        return replace(stored, version=str(change), status=status)
