"""`python -m images.application PROGRAM FOLDER`: fit installed packages into an image.

Leaves out what the program does not run, and compiles the rest: a container's root is read-only, so what is not
compiled here is compiled at each start. Run by the interpreter that will run it.
"""

import compileall
import re
import shutil
import sys
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Final

# One wheel has all programs; the sidecar of an agent must not carry the operator's code, nor the other way round.
_PROGRAMS: Final = {
    "sidecar": frozenset({"hitl", "hitl_sidecar"}),
    "operator": frozenset({"hitl", "hitl_operator"}),
}
# What packages bring and no program imports, with what it weighs.
_UNUSED: Final = (
    "bin",  # console scripts that name the Python of the build
    "cel_expr_python/ext",  # further functions for expressions, each linked with all of CEL anew; 36 MB
    "kubernetes/aio",  # its second client; 34 MB, 68 MB compiled
)
_UNCOMPILED: Final = re.compile(r"/kubernetes/")  # imported for a kubeconfig with a cloud's login alone; 28 MB


def fit(program: str, folder: Path) -> None:
    """Reduce `folder` to what `program` runs, compiled. ValueError: there is no such program."""
    if program not in _PROGRAMS:
        raise ValueError(f"{program!r} is no program with an image; there are {', '.join(sorted(_PROGRAMS))}")
    for package in folder.glob("hitl*"):
        if package.suffix != ".dist-info" and package.name not in _PROGRAMS[program]:
            shutil.rmtree(package)
    for unwanted in (*(folder / name for name in _UNUSED), *folder.rglob("__pycache__")):
        shutil.rmtree(unwanted, ignore_errors=True)
    for name in ("direct_url.json", "RECORD", "REQUESTED"):  # they name the folder and the time of the build
        for file in folder.glob(f"*.dist-info/{name}"):
            file.unlink()
    compiled = compileall.compile_dir(
        folder,
        quiet=1,
        rx=_UNCOMPILED,
        stripdir=str(folder),
        prependdir="/app",
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )
    if not compiled:
        raise ValueError(f"{folder}: some of it could not be compiled; the lines above say what")


if __name__ == "__main__":
    fit(sys.argv[1], Path(sys.argv[2]))
