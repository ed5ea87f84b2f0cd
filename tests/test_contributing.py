"""What contributors and those who cite find in the repository fits what it has."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def test_the_citation_names_this_version():
    """The same version, name and licence as the package."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["title"].lower() == PROJECT["name"]
    assert all(citation[name] for name in ("message", "abstract", "authors"))


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_one(path):
    """As the hosting platform reads it: a name, a description, fields with labels and own ids."""
    form = yaml.safe_load(path.read_text("utf-8"))
    if path.stem == "config":
        assert set(form) == {"blank_issues_enabled"}
        return
    assert form["name"]
    assert form["description"]
    kinds = {field["type"] for field in form["body"]}
    assert kinds <= {"input", "textarea", "dropdown", "checkboxes", "markdown"}
    assert all(field["attributes"]["label"] for field in form["body"])
    ids = [field["id"] for field in form["body"]]
    assert len(set(ids)) == len(ids)


def test_both_things_that_readers_report_have_a_form():
    """A claim that is wrong, and a message that is not recognised."""
    assert {"claim", "message"} <= {path.stem for path in FORMS}


def test_a_commit_is_checked_as_lint_checks():
    """pre-commit runs the session itself, so that both have the same tools and versions."""
    settings = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    entries = [hook["entry"] for repo in settings["repos"] for hook in repo["hooks"]]
    assert entries == ["python -m nox -s lint"]
    sessions = re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text("utf-8"), re.M)
    assert "lint" in sessions


def test_readme_names_every_session():
    """In its table or its two commands."""
    text = (ROOT / "README.md").read_text("utf-8")
    source = (ROOT / "noxfile.py").read_text("utf-8")
    names = re.findall(r"^@nox\.session(?:\((.*)\))?\ndef (\w+)", source, re.M)
    for options, function in names:
        named = re.search(r'name="([\w-]+)"', options)
        name = named[1] if named else function
        assert f"`{name}`" in text or f"-s {name}`" in text or f"-s {name}\n" in text, name
