"""Image archives that containerd imports and Docker loads: the same folders give the same bytes."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from images.dockerfile import Settings

_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_INDEX: Final = "application/vnd.oci.image.index.v1+json"


def write(path: Path, name: str, layers: Sequence[bytes], settings: Settings, *, architecture: str) -> str:
    """Write the archive of one image.

    Args:
        path: replaced if it is there.
        name: with its tag, as pods refer to it.
        layers: uncompressed tar archives, lowest first.
        settings: how its containers run.
        architecture: as Go spells it.

    Returns:
        The digest of its manifest, ``sha256:…``.
    """
    blobs: dict[str, bytes] = {}

    def add(content: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

    described = [add(layer, _LAYER) for layer in layers]
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {
            "User": settings.user,
            "WorkingDir": "/",
            "Env": ["PATH=/usr/bin:/bin", *settings.environment],
            "Entrypoint": list(settings.entrypoint),
        },
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in described]},
    }
    configured = add(_json(config), _CONFIG)
    manifest = add(
        _json({"schemaVersion": 2, "mediaType": _MANIFEST, "config": configured, "layers": described}), _MANIFEST
    )
    names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [{**manifest, "annotations": names}]}
    docker = {
        "Config": _blob(configured),
        "RepoTags": [name],
        "Layers": [_blob(layer) for layer in described],
    }
    files = {
        **blobs,
        "index.json": _json(index),
        "manifest.json": _json([docker]),
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    with tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as archive:
        for file, content in sorted(files.items()):
            archive.addfile(_entry(file, size=len(content)), io.BytesIO(content))
    draft.replace(path)
    return str(manifest["digest"])


def layer(folder: Path, at: str = "", *, more: Mapping[str, bytes] | None = None) -> bytes:
    """A folder as a layer: owned by root, without times, in the order of names.

    Args:
        folder: its links are kept as they are.
        at: where it stands in the image, without slashes at the ends; empty: it is the root.
        more: further files by their path in the image.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in (folder, *sorted(_below(folder))):
            name = "/".join(filter(None, (at, "" if file == folder else file.relative_to(folder).as_posix())))
            if not name:
                continue
            entry = archive.gettarinfo(file, name)
            if not (entry.isreg() or entry.isdir() or entry.issym()):
                raise ValueError(f"{file}: is neither a file, a folder nor a link; an image has no use for it")
            plain = _entry(name, size=entry.size if entry.isreg() else 0, mode=_mode(entry))
            plain.type, plain.linkname = entry.type, entry.linkname
            if entry.isreg():
                with file.open("rb") as source:
                    archive.addfile(plain, source)
            else:
                archive.addfile(plain)
        for name, content in sorted((more or {}).items()):
            archive.addfile(_entry(name, size=len(content)), io.BytesIO(content))
    return packed.getvalue()


def _below(folder: Path) -> Iterable[Path]:
    for file in folder.iterdir():
        yield file
        if file.is_dir() and not file.is_symlink():
            yield from _below(file)


def _mode(entry: tarfile.TarInfo) -> int:
    """What everybody may do with it, whatever umask it was made under; sticky for /tmp, and setuid never."""
    if entry.issym():
        return 0o777
    if entry.mode & 0o1000:
        return 0o1777
    return 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644


def _entry(name: str, *, size: int, mode: int = 0o644) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, mode
    return entry


def _blob(descriptor: Mapping[str, Any]) -> str:
    return "blobs/" + str(descriptor["digest"]).replace(":", "/")


def _json(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
