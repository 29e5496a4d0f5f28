"""What every command gets: the place it works in, the screen it prints on, the time."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hitl.errors import HitlError
from hitl_cli.render import Output, Screen

if TYPE_CHECKING:
    # Each kind of place is imported where it is found: a list on a cluster must not pay for homes.
    from hitl_cli.home import Home
    from hitl_cli.on_cluster.place import ClusterPlace
    from hitl_cli.place import Place


class Session:
    """One run of the program. Options fill it before the command's own function is called.

    Args:
        plugin: it was started as ``kubectl hitl``, which is always about a cluster.
    """

    def __init__(self, *, plugin: bool = False) -> None:
        self.plugin = plugin
        self.home_option: str | None = None
        self.kubeconfig: str | None = None
        self.context: str | None = None
        self.namespace: str | None = None
        self.all_namespaces = False
        self.output = Output.TABLE
        self.person: str | None = None
        self.as_groups: tuple[str, ...] = ()
        self._screen: Screen | None = None
        self._place: Place | None = None

    @property
    def program(self) -> str:
        """How this program was called: what hints begin with that need no place."""
        return "kubectl hitl" if self.plugin else "hitl"

    @property
    def is_on_cluster(self) -> bool:
        """Whether this run is about a cluster: `kubectl hitl`, or `hitl` with --context or --kubeconfig."""
        return self.plugin or self.context is not None or self.kubeconfig is not None

    @property
    def place(self) -> "Place":
        """Where this run works; the same object whenever it is asked for."""
        if self._place is None:
            self._place = self._found_place()
        return self._place

    @property
    def home(self) -> "Home":
        """The home this run looks in; only for what there is in a home alone.

        Raises:
            HitlError: the run is about a cluster.
        """
        if self.is_on_cluster:
            raise HitlError("a cluster has no home on this machine; this is for hitl --home DIR")
        from hitl_cli.home import Home  # noqa: PLC0415 - start-up: as above

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

    @property
    def hint(self) -> Callable[..., str]:
        """See `Place.hint`."""
        return self.place.hint

    def need_home(self) -> Path:
        """The home's directory, which must be one."""
        self.home.need_database()
        return self.home.path

    def need_cluster(self, command: str) -> "ClusterPlace":
        """The cluster of this run. HitlError where the run is about a home."""
        from hitl_cli.on_cluster.place import ClusterPlace  # noqa: PLC0415 - start-up: homes need it not

        place = self.place
        if not isinstance(place, ClusterPlace):
            raise HitlError(
                f"{command} looks at a cluster, and this is about {place.where}\n"
                f"Next: kubectl hitl {command}    or: hitl {command} --context NAME"
            )
        return place

    def _found_place(self) -> "Place":
        if self.is_on_cluster:
            if self.home_option is not None:
                raise click.UsageError("--home is a place on this machine, not on a cluster; leave one of the two out")
            from hitl_cli.on_cluster.place import ClusterPlace, Typed  # noqa: PLC0415 - start-up: homes need it not

            return ClusterPlace(
                Typed(
                    plugin=self.plugin,
                    kubeconfig=self.kubeconfig,
                    context=self.context,
                    namespace=self.namespace,
                    all_namespaces=self.all_namespaces,
                    user=self.person,
                    groups=self.as_groups,
                ),
                self.now,
            )
        if self.as_groups:
            raise click.UsageError(
                "--as-group is for a cluster: with --context; in a home reviewers.yaml has the groups"
            )
        from hitl_cli.at_home import HomePlace  # noqa: PLC0415 - start-up: a cluster needs it not

        return HomePlace(self.home, self.home_option, self.namespace, self.person, self.now)
