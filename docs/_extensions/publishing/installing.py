"""What has to be installed to run code of the book, as a command.

The package comes from the repository that GRADBOOK_REPOSITORY names; without one, from a clone.
"""

import ast
import os
import sys
from collections.abc import Iterable

# Where a module comes in a distribution of another name, or with another one.
_DISTRIBUTION = {"IPython": "ipython", "sklearn": "scikit-learn", "functorch": "torch"}
# What `gradbook[all]` brings.
_BRINGS = {"torch", "numpy", "matplotlib", "ipython", "scikit-learn", "tqdm"}


def packages(source: str) -> list[str]:
    r"""The distributions that code imports from, in alphabetical order.

    >>> packages("import os, torch\nfrom sklearn import datasets")
    ['scikit-learn', 'torch']
    """
    modules: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                modules.update(name.name for name in node.names)
            case ast.ImportFrom(module=str(module)):
                modules.add(module)
    tops = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names
    return sorted({_DISTRIBUTION.get(name, name) for name in tops})


def repository() -> str:
    """The address of the book's repository; empty if it is not known."""
    return os.environ.get("GRADBOOK_REPOSITORY", "").removesuffix("/").removesuffix(".git")


def requirement(source: str) -> str:
    """The package with everything that its pages use, for pip, from a repository."""
    return f"gradbook[all] @ git+{source}"


def command(needed: Iterable[str], source: str) -> str:
    """The command that installs distributions; empty if none is needed.

    Args:
        needed: their names.
        source: address of the repository of `gradbook`; empty for a clone.

    >>> command(["numpy", "torch"], "")
    'python -m pip install numpy torch'
    >>> command(["gradbook", "torch"], "https://example.org/book")
    'python -m pip install "gradbook[all] @ git+https://example.org/book"'
    """
    names = sorted(set(needed))
    if "gradbook" not in names:
        return f"python -m pip install {' '.join(names)}" if names else ""
    others = "".join(f" {name}" for name in names if name not in {*_BRINGS, "gradbook"})
    if source:
        return f'python -m pip install "{requirement(source)}"{others}'
    return f'python -m pip install ".[all]"{others}  # in a clone of the book'
