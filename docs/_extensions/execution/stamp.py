"""What the results of a page depend on beside its own cells, as the name of a cache."""

import hashlib
import platform
from importlib import metadata
from pathlib import Path

COMPUTES = ("torch", "numpy", "matplotlib", "ipykernel", "ipython")
# The extensions that set up kernels. Others work on results, each time anew.
RUNS = ("figures.py", "forked_kernels.py", "kernel_server.py", "notebooks.py", "warm_server.py")


def stamp(*folders: Path) -> str:
    """Digest of all that an output depends on beside the page's own cells.

    Args:
        *folders: all their files count, by name and content.
    """
    digest = hashlib.sha256(platform.python_version().encode())
    for name in COMPUTES:
        digest.update(f"{name}={metadata.version(name)}\n".encode())
    for folder in (Path(__file__).parent, *folders):
        for path in sorted(folder.rglob("*")):
            ours = folder != Path(__file__).parent or path.name in RUNS
            name = path.relative_to(folder)
            hidden = any(part.startswith(".") for part in name.parts)  # what tools leave behind
            if ours and not hidden and path.is_file() and path.suffix != ".pyc":
                digest.update(f"{name}\n".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
