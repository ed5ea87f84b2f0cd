"""Parts of gradbook that every build needs, without the second that importing torch takes.

Importing any module of a package runs the package first, and gradbook's imports torch, which its
catalogue and its drawings do not need. So while they are loaded, an empty package stands for it.
Extensions find them by their own names. Whatever imports gradbook later, such as the API page, gets
it whole, with the same modules.
"""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _alone(package: str) -> Iterator[None]:
    """Modules of `package` are imported without running the package itself."""
    spec = importlib.util.find_spec(package) if package not in sys.modules else None
    if spec is None:  # it is there already, or nowhere
        yield
        return
    sys.modules[package] = importlib.util.module_from_spec(spec)
    try:
        yield
    finally:
        del sys.modules[package]


with _alone("gradbook"):
    from gradbook import catalogue
    from gradbook.display import drawing

__all__ = ["catalogue", "drawing"]
