"""The edge: every error becomes words for stderr and one exit code, here and nowhere else."""

import os
import traceback
from collections.abc import Mapping
from pathlib import Path

import click

from hitl.errors import (
    AmbiguousName,
    Forbidden,
    HitlError,
    InvalidPolicy,
    NoLongerPending,
)
from hitl_cli.exits import Exit

# What a shell reports for a program that Ctrl-C ended.
INTERRUPTED = 130


def exit_code_of(error: HitlError) -> Exit:
    """The exit code of an error of ours."""
    match error:
        case NoLongerPending():
            return Exit.NO_LONGER_PENDING
        case Forbidden():
            return Exit.FORBIDDEN
        case AmbiguousName():
            return Exit.USAGE
        case _:
            return Exit.ERROR


def words_for(error: BaseException, environment: Mapping[str, str] = os.environ) -> list[str]:
    """The lines that say what went wrong and what to do next."""
    if environment.get("HITL_TRACE") == "1" and not isinstance(error, click.UsageError):
        return "".join(traceback.format_exception(error)).rstrip("\n").split("\n")
    match error:
        case click.UsageError():
            return _usage(error)
        case click.ClickException():
            return [f"error: {error.format_message()}"]
        case InvalidPolicy():
            return [f"error: {problem}" for problem in error.problems]
        case HitlError():
            first, *rest = str(error).split("\n")
            return [f"error: {first}", *rest]
        case OSError() if error.strerror:
            place = f"{error.filename}: " if error.filename else ""
            return [f"error: {place}{error.strerror}"]
        case _:
            # Its words are nobody's: they may hold a header with the token in it.
            return [
                f"error: this should not happen: {type(error).__name__}{_where(error)}",
                "What it says: run it again with HITL_TRACE=1; please report it, without what is secret in that text.",
            ]


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" in {frames[-1].name} ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""


def _usage(error: click.UsageError) -> list[str]:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error.format_message().split("\n")
    lines = [f"error: {error.format_message()}"]
    if error.ctx is not None:
        lines.append(f"Usage: {error.ctx.command_path} {' '.join(error.ctx.command.collect_usage_pieces(error.ctx))}")
        lines.append(f"Help:  {error.ctx.command_path} --help")
    return lines
