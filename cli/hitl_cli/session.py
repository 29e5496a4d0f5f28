"""What every command gets: the home it works in, the screen it prints on, the person who acts, the time."""

import os
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hitl.errors import Forbidden
from hitl.stores.protocol import ReviewerStore
from hitl_cli.home import Home
from hitl_cli.render import Output, Screen

if TYPE_CHECKING:
    from hitl.stores.people import Person


class Session:
    """One run of the program. Options fill it before the command's own function is called."""

    def __init__(self) -> None:
        self.home_option: str | None = None
        self.namespace: str | None = None
        self.output = Output.TABLE
        self.person: str | None = None
        self._screen: Screen | None = None

    @property
    def home(self) -> Home:
        """The home this run looks in."""
        return Home.find(self.home_option, os.environ)

    @property
    def screen(self) -> Screen:
        """Where it prints."""
        if self._screen is None:
            self._screen = Screen(self.output)
        return self._screen

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return datetime.now(UTC)

    def hint(self, *words: str) -> str:
        """A command to type next, with the options of this run that it needs again."""
        home = ["--home", self.home_option] if self.home_option else []
        return " ".join(["hitl", *words, *home])

    def who(self) -> str | None:
        """Who acts, as far as that is plain: --as, HITL_AS, or the only key in the home."""
        named = self.person or os.environ.get("HITL_AS")
        if named:
            return named
        names = self.home.key_names()
        return names[0] if len(names) == 1 else None

    def need_person(self) -> str:
        """Who acts, or an error that lists who could."""
        who = self.who()
        if who is None:
            names = self.home.key_names()
            known = f"keys are here for {', '.join(names)}" if names else "no key is here yet"
            raise Forbidden(
                f"who decides? Say --as NAME or set HITL_AS; {known}\n"
                f"Add a person: {self.hint('dev', 'reviewer', 'add', 'NAME', '--group', 'GROUP')}"
            )
        return who

    def people(self) -> "dict[str, Person]":
        """Everyone in the home's reviewers.yaml, by case-folded name."""
        if not self.home.reviewers.exists():
            return {}
        from hitl.stores.people import read_reviewers  # noqa: PLC0415 - start-up: brings cryptography and yaml

        return read_reviewers(self.home.reviewers)

    def need_home(self) -> Path:
        """The home's directory, which must be one."""
        self.home.need_database()
        return self.home.path

    def open_store(self) -> AbstractAsyncContextManager[ReviewerStore]:
        """The home's requests: reviewer's side. Opens no database that is not there yet."""
        from hitl.stores.sqlite import SQLiteStore  # noqa: PLC0415 - start-up: most commands never open it

        return SQLiteStore.open(self.home.need_database(), clock=self.now)
