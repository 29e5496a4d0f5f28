"""What the demo's agent works on: a real SQLite database and real files in a scratch folder.

Each tool does what its name says and writes one line to ``executions.jsonl`` when it does, so that the demo can count
afterwards what really ran instead of believing anybody.
"""

import json
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class World:
    """A small shop: customers, invoices and refunds in SQLite; reports, releases and an outbox as files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workspace = folder / "workspace"
        self.database = folder / "shop.db"
        self.executions = folder / "executions.jsonl"
        self._tools: dict[str, Callable[..., Any]] = {
            "text/format_amount": self.format_amount,
            "files/read_file": self.read_file,
            "files/write_file": self.write_file,
            "shop-db/query": self.query,
            "shop-db/apply_migration": self.apply_migration,
            "shop-db/drop_table": self.drop_table,
            "payments/create_refund": self.create_refund,
            "deploy/release": self.release,
            "mail/send": self.send,
        }

    def build(self) -> None:
        """Make the folder, the files and the tables; refuses a folder that is not empty."""
        self.folder.mkdir(parents=True)
        for name in ("reports", "releases", "outbox"):
            (self.workspace / name).mkdir(parents=True)
        (self.workspace / "reports" / "march.csv").write_text("customer,paid\nC-20817,15000\nC-20904,4200\n")
        with sqlite3.connect(self.database) as connection:
            connection.executescript(
                "CREATE TABLE customer(id TEXT PRIMARY KEY, name TEXT);"
                "CREATE TABLE invoice(id TEXT PRIMARY KEY, customer TEXT, amount INTEGER, due_on TEXT);"
                "CREATE TABLE refund(customer TEXT, amount INTEGER, currency TEXT);"
                "INSERT INTO customer VALUES ('C-20817','Okafor'),('C-20904','Lindqvist'),('C-21003','Moreau');"
                "INSERT INTO invoice VALUES ('I-1','C-20817',15000,'2026-03-31'),('I-2','C-20904',4200,'2026-04-15');"
            )
        connection.close()

    def run(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Execute a tool; whatever it raises is the tool's failure."""
        with self.executions.open("a") as log:
            log.write(json.dumps({"tool": name, "arguments": arguments}) + "\n")
        return self._tools[name](**arguments)

    def ran(self) -> list[dict[str, Any]]:
        """Everything that was executed, oldest first."""
        if not self.executions.exists():
            return []
        return [json.loads(line) for line in self.executions.read_text().splitlines()]

    def format_amount(self, amount: int, currency: str) -> str:
        return f"{amount / 100:.2f} {currency.upper()}"

    def read_file(self, path: str) -> str:
        return (self.workspace / path).read_text()

    def write_file(self, path: str, content: str) -> str:
        return f"{(self.workspace / path).write_text(content)} bytes"

    def query(self, sql: str) -> list[Any]:
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True) as connection:
            rows = connection.execute(sql).fetchall()
        connection.close()
        return rows

    def apply_migration(self, name: str, sql: str) -> str:
        self._write(sql)
        return f"{name} applied"

    def drop_table(self, table: str) -> str:
        self._write(f'DROP TABLE "{table}"')
        return f"{table} is gone"

    def create_refund(self, customer: str, amount: int, currency: str) -> str:
        self._write("INSERT INTO refund VALUES (?, ?, ?)", customer, amount, currency)
        return f"refunded {self.format_amount(amount, currency)} to {customer}"

    def release(self, version: str, target: str) -> str:
        (self.workspace / "releases" / target).write_text(version)
        return f"{version} is live on {target}"

    def send(self, to: str, subject: str, body: str) -> str:
        outbox = self.workspace / "outbox"
        (outbox / f"{len(list(outbox.iterdir())):03}.eml").write_text(f"To: {to}\nSubject: {subject}\n\n{body}\n")
        return f"sent to {to}"

    def _write(self, sql: str, *values: Any) -> None:
        with sqlite3.connect(self.database) as connection:
            connection.execute(sql, values)
        connection.close()
