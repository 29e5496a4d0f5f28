"""The operator's settings from a mounted file, followed while it changes (DESIGN 18)."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hitl.errors import InvalidInput, InvalidSettings
from hitl.kube.manifests import read_mapping
from hitl.policy.settings import Settings, parse_settings
from hitl_operator.logs import Log

_LOOK_EVERY: Final = 1.0  # seconds; kubelet itself takes a minute to bring a changed ConfigMap
_LARGEST: Final = 1 << 20  # bytes

_log = Log(__name__)


class SettingsFile:
    """Settings in force: those of the file, as it was last when it could be read.

    Args:
        path: None where there is none; then the defaults hold.

    Raises:
        InvalidSettings: the file cannot be read as it stands at the start.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._text = b"" if path is None else _read(path)
        self.settings = Settings() if path is None else _parsed(path, self._text)

    async def follow(self, on_change: Callable[[Settings], None]) -> None:
        """Look until cancelled; what cannot be read changes nothing and is reported once."""
        if self._path is None:
            await asyncio.get_running_loop().create_future()
            return
        told = ""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            try:
                text = await asyncio.to_thread(_read, self._path)
                if text == self._text:
                    continue
                self._text = text
                found = _parsed(self._path, text)
            except InvalidSettings as error:
                if str(error) != told:
                    told = str(error)
                    _log.error("settings-refused", problem=error, meaning="those that were read before stay in force")
                continue
            told = ""
            if found != self.settings:
                self.settings = found
                _log.info("settings-changed", file=self._path)
                on_change(found)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST + 1)
    except OSError as error:
        raise InvalidSettings(
            f"--settings {path}: cannot be read ({error.strerror}); mount it, or leave it out"
        ) from error
    if len(text) > _LARGEST:
        raise InvalidSettings(f"--settings {path}: is larger than {_LARGEST >> 20} MiB; these are no settings")
    return text


def _parsed(path: Path, text: bytes) -> Settings:
    try:
        return parse_settings(read_mapping(text.decode(), str(path)))
    except UnicodeDecodeError as error:
        raise InvalidSettings(f"{path}: is not UTF-8 ({error})") from error
    except InvalidSettings as error:
        raise InvalidSettings(f"{path}: {error}") from error
    except InvalidInput as error:
        raise InvalidSettings(str(error)) from error
