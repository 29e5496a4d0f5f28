"""Completion for `kubectl hitl …`: kubectl runs ``kubectl_complete-hitl`` with the words so far, the last unfinished.

It prints one suggestion a line, with a description behind a tab, and last a colon with a directive for the shell. It is
quick or silent: who presses Tab has no use for an error.
"""

import contextlib
import io
import os
import sys
import threading
from collections.abc import Sequence
from typing import Final

from click.shell_completion import CompletionItem, ShellComplete

from hitl.policy.escaping import as_plain
from hitl_cli.main import cli
from hitl_cli.session import Session

# Seconds after which there are no suggestions; a login that opens a browser takes longer.
PATIENCE: Final = 1.0
# cobra's ShellCompDirectiveNoFileComp: where we know nothing, file names are no help.
_NO_FILES: Final = ":4"


def suggestions(words: Sequence[str], unfinished: str) -> list[str]:
    """What could stand in the place of the unfinished word, each with its description."""
    session = Session(plugin=True)
    completion = ShellComplete(cli, {"obj": session}, "kubectl hitl", "")
    found = completion.get_completions(list(words), unfinished)
    return [_line(each) for each in found if each.type == "plain"]


def _line(item: CompletionItem) -> str:
    described = f"\t{as_plain(item.help)}" if item.help else ""
    return f"{as_plain(str(item.value))}{described}"


def _give_up() -> None:
    print(_NO_FILES, flush=True)
    os._exit(0)


def main() -> None:
    """The executable that kubectl looks for on PATH."""
    watch = threading.Timer(PATIENCE, _give_up)
    watch.daemon = True
    watch.start()
    *words, unfinished = sys.argv[1:] or [""]
    found: list[str] = []
    with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(Exception, SystemExit):
        found = suggestions(words, unfinished)
    watch.cancel()
    print(*found, _NO_FILES, sep="\n", flush=True)
    os._exit(0)  # a call that hangs in a thread must not keep the shell waiting
