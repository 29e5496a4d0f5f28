"""Image archives: the same folders give the same bytes, and what is in them is what was in the folders."""

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from images import archive
from images.dockerfile import Settings

SETTINGS = Settings("65532:65532", ("/usr/bin/program", "serve"), ("LEVEL=high",))


def a_tree(at: Path, *, umask: int = 0o022) -> Path:
    """A folder with a program, a text, a link and a folder that everybody may write to."""
    before = os.umask(umask)
    try:
        (at / "usr/bin").mkdir(parents=True)
        (at / "tmp").mkdir()
        (at / "tmp").chmod(0o1777)
        (at / "usr/bin/program").write_bytes(b"\x7fELF")
        (at / "usr/bin/program").chmod(0o4700)
        (at / "usr/text").write_text("words")
        (at / "bin").symlink_to("usr/bin")
    finally:
        os.umask(before)
    return at


def entries_of(layer: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(layer)) as packed:
        return {entry.name: entry for entry in packed}


def test_a_layer_hangs_on_nothing_but_what_is_in_the_folder(tmp_path: Path) -> None:
    """Another time, another place and another umask give the same bytes."""
    here, there = a_tree(tmp_path / "here"), a_tree(tmp_path / "there", umask=0o077)
    os.utime(there / "usr/text", (1, 1))
    assert archive.layer(here) == archive.layer(there)


def test_a_layer_belongs_to_root_and_nothing_in_it_is_setuid(tmp_path: Path) -> None:
    """Whoever builds, root owns it; programs stay programs, texts texts, and /tmp is everybody's."""
    found = entries_of(archive.layer(a_tree(tmp_path / "tree")))
    assert {(entry.uid, entry.gid, entry.mtime) for entry in found.values()} == {(0, 0, 0)}
    modes = {name: oct(entry.mode) for name, entry in found.items()}
    assert modes["usr/bin/program"] == "0o755"
    assert modes["usr/text"] == "0o644"
    assert modes["tmp"] == "0o1777"
    assert found["bin"].linkname == "usr/bin"


def test_a_layer_stands_where_it_is_told(tmp_path: Path) -> None:
    """`at` puts a folder under another name, and further files come by their own."""
    found = entries_of(archive.layer(a_tree(tmp_path / "tree"), "app", more={"etc/passwd": b"root"}))
    assert {"app", "app/usr/text", "etc/passwd"} <= found.keys()


def test_a_layer_takes_nothing_but_files_folders_and_links(tmp_path: Path) -> None:
    """A named pipe is refused by its name."""
    os.mkfifo(a_tree(tmp_path / "tree") / "pipe")
    with pytest.raises(ValueError, match="pipe: is neither"):
        archive.layer(tmp_path / "tree")


def test_an_archive_is_read_by_both_ways_there_are(tmp_path: Path) -> None:
    """Index, manifest and config lead to the layers by digests that are right; Docker's list names the same blobs."""
    layers = [archive.layer(a_tree(tmp_path / "tree")), archive.layer(a_tree(tmp_path / "other"), "app")]
    path = tmp_path / "out" / "image.tar"
    digest = archive.write(path, "localhost/thing:1.2", layers, SETTINGS, architecture="amd64")
    with tarfile.open(path) as packed:
        files = {entry.name: packed.extractfile(entry).read() for entry in packed}  # type: ignore[union-attr]  # files all
    for name, content in files.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"

    def blob(descriptor: dict[str, Any]) -> bytes:
        content = files["blobs/" + descriptor["digest"].replace(":", "/")]
        assert descriptor["size"] == len(content)
        return content

    (listed,) = json.loads(files["index.json"])["manifests"]
    assert listed["digest"] == digest
    assert listed["annotations"]["io.containerd.image.name"] == "localhost/thing:1.2"
    manifest = json.loads(blob(listed))
    config = json.loads(blob(manifest["config"]))
    assert [blob(each) for each in manifest["layers"]] == layers
    assert config["rootfs"]["diff_ids"] == [each["digest"] for each in manifest["layers"]]
    assert config["config"]["User"] == "65532:65532"
    assert config["config"]["Entrypoint"] == ["/usr/bin/program", "serve"]
    assert "LEVEL=high" in config["config"]["Env"]
    (docker,) = json.loads(files["manifest.json"])
    assert docker["RepoTags"] == ["localhost/thing:1.2"]
    assert [files[name] for name in docker["Layers"]] == layers
    assert json.loads(files[docker["Config"]]) == config
