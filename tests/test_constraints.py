"""The tested versions of packages: a machine with any Python that the book allows can have them."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
PINS = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
ALLOWED = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]


def refuses(package: str, version: str) -> str:
    """Which Pythons the package wants, if it refuses the oldest that the book allows."""
    try:
        known = metadata(package)
    except PackageNotFoundError:
        return ""  # of another session
    if known["Version"] != version:
        return ""
    wanted = known.get("Requires-Python") or ""
    oldest = f"{ALLOWED.removeprefix('>=')}.0"
    return "" if SpecifierSet(wanted).contains(oldest) else f"{package} {version} wants {wanted}"


def test_every_tested_version_can_be_installed_with_the_oldest_python():
    """Debian 12 has Python 3.11.2: a pin that wants 3.11.5 would end README's first command."""
    assert len(PINS) > 100
    assert [found for package, version in PINS if (found := refuses(package, version))] == []


@pytest.mark.parametrize("wanted", [">=3.11.5", ">=3.12"])
def test_a_version_that_wants_a_newer_python_is_noticed(monkeypatch, wanted):
    """The rule can fail."""
    known = {"Version": "1.0", "Requires-Python": wanted}
    monkeypatch.setitem(globals(), "metadata", lambda _: known)
    assert refuses("soupsieve", "1.0") == f"soupsieve 1.0 wants {wanted}"
