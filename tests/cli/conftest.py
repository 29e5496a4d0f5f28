"""Fixtures of the command line's tests."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.homes import AHome


@pytest.fixture
def home() -> Iterator[AHome]:
    """A fresh home. Below /tmp: a Unix socket's path must stay short."""
    path = Path(tempfile.mkdtemp(prefix="hitl-cli-", dir="/tmp"))
    yield AHome(path)
    shutil.rmtree(path, ignore_errors=True)
