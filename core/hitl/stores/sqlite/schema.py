"""What the file holds. The triggers repeat the core of I5 for programs that do not go through `transitions.guard`."""

import sqlite3
from pathlib import Path
from typing import Final

from hitl.errors import StoreUnavailable

# Raise it with every change below and with every new field in a stored spec or status: older releases must not guess.
SCHEMA: Final = 2
# Older files whose rows this release reads as they are: what came since has a default.
_READ_AS_THEY_ARE: Final = (1,)
# "hitl" in ASCII, in the file's header: tells our files from other programs' databases.
APPLICATION: Final = 0x6869746C


def _never(name: str, when: str, message: str) -> str:
    """A trigger that refuses an update, whoever makes it."""
    return f"CREATE TRIGGER {name} BEFORE UPDATE ON requests WHEN {when} BEGIN SELECT RAISE(ABORT, '{message}'); END"


# `spec` and `status` are JSON as `hitl.kube.requests` writes it; the other columns repeat what is searched for.
# `change` counts every write to the file: it is the version of a request, and what a watch goes by.
_STATEMENTS = (
    """CREATE TABLE requests (
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        uid TEXT NOT NULL,
        created TEXT NOT NULL,
        workload TEXT NOT NULL,
        state TEXT NOT NULL,
        denied TEXT,
        change INTEGER NOT NULL,
        spec TEXT NOT NULL CHECK (json_valid(spec)),
        status TEXT NOT NULL CHECK (json_extract(status, '$.state') = state),
        PRIMARY KEY (namespace, name)
    )""",
    "CREATE UNIQUE INDEX by_change ON requests (change, namespace)",
    "CREATE INDEX by_age ON requests (created, namespace, name)",
    "CREATE INDEX open_by_age ON requests (created, namespace, name) WHERE state IN ('Pending', 'Approved')",
    "CREATE INDEX denials ON requests (namespace, workload, denied) WHERE denied IS NOT NULL",
    "CREATE TABLE changes (count INTEGER NOT NULL)",
    "INSERT INTO changes VALUES (0)",
    _never(
        "question_is_immutable",
        "NEW.spec IS NOT OLD.spec OR NEW.uid IS NOT OLD.uid OR NEW.created IS NOT OLD.created "
        "OR NEW.namespace IS NOT OLD.namespace OR NEW.name IS NOT OLD.name OR NEW.workload IS NOT OLD.workload",
        "what was asked is never changed",
    ),
    # Entries are compared as texts: every writer spells JSON alike.
    _never(
        "decisions_stay",
        """EXISTS (SELECT 1 FROM json_each(OLD.status, '$.decisions') AS was WHERE NOT EXISTS
            (SELECT 1 FROM json_each(NEW.status, '$.decisions') AS now WHERE now.value = was.value))""",
        "a decision is never changed or removed",
    ),
    _never(
        "notes_stay",
        """EXISTS (SELECT 1 FROM json_each(OLD.status, '$.notes') AS was WHERE NOT EXISTS
            (SELECT 1 FROM json_each(NEW.status, '$.notes') AS now WHERE now.value = was.value))""",
        "a note is never changed or removed",
    ),
    _never(
        "outcomes_stay",
        """EXISTS (SELECT 1 FROM json_each(OLD.status, '$.conditions') AS was
            WHERE json_extract(was.value, '$.type') IN ('Approved', 'Denied', 'Expired', 'Cancelled', 'Consumed')
            AND NOT EXISTS (SELECT 1 FROM json_each(NEW.status, '$.conditions') AS now WHERE now.value = was.value))""",
        "an outcome is never changed or removed",
    ),
    _never(
        "voting_ends",
        """OLD.state <> 'Pending' AND coalesce(json_array_length(NEW.status, '$.decisions'), 0)
            > coalesce(json_array_length(OLD.status, '$.decisions'), 0)""",
        "voting has ended",
    ),
    _never(
        "the_end_is_the_end",
        "OLD.state IN ('Denied', 'Expired', 'Cancelled', 'Consumed') AND NEW.state IS NOT OLD.state",
        "an ended request is never revived",
    ),
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {SCHEMA}",
)


def ensure_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables in an empty file, do nothing in one of ours; the caller sees that no other process does so too.

    Raises:
        StoreUnavailable: the file is of another program, or of a newer release.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if version == 0 and application == 0 and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        connection.execute("BEGIN IMMEDIATE")
        for statement in _STATEMENTS:
            connection.execute(statement)
        connection.execute("COMMIT")
        return
    if application != APPLICATION:
        raise StoreUnavailable(f"{path} is a database of another program; give hitl a file of its own")
    if version in _READ_AS_THEY_ARE:
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
    elif version != SCHEMA:
        raise StoreUnavailable(
            f"{path} was written by another release of hitl (schema {version}, this one reads {SCHEMA}); "
            "use that release, or start with a new home"
        )
