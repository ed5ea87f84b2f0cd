"""What contributors and those who cite find in the repository fits what it has."""

import re
import shutil
import subprocess
import sys
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


@pytest.fixture
def begin(tmp_path):
    """Run the session that begins a page, in a copy of what it needs."""
    for name in ("noxfile.py", "pyproject.toml", "docs/index.md", "docs/_templates/new-page.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)

    def run(*arguments):
        command = [sys.executable, "-m", "nox", "-s", "new-page", "--", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
        )
        return done.returncode, done.stderr

    return run


def test_a_new_page_is_the_template_with_its_title_and_is_listed(begin, tmp_path):
    """Last of its part on the front page, and nothing else there has changed."""
    (tmp_path / "docs" / "howto").mkdir()
    code, log = begin("howto/clamp-a-gradient", "Clamp a gradient")
    assert code == 0, log
    page = (tmp_path / "docs" / "howto" / "clamp-a-gradient.md").read_text("utf-8")
    template = (ROOT / "docs" / "_templates" / "new-page.md").read_text("utf-8")
    assert page == template.replace("TITLE", "Clamp a gradient") != template
    was = (ROOT / "docs" / "index.md").read_text("utf-8").splitlines()
    now = (tmp_path / "docs" / "index.md").read_text("utf-8").splitlines()
    place = now.index("howto/clamp-a-gradient")
    assert now[:place] + now[place + 1 :] == was
    assert now[place - 1].startswith("howto/")
    assert now[place + 1] == "```"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("howto/clamp",), "nox -s new-page --"),
        (("nowhere/clamp", "Clamp"), "is no address of a page"),
        (("howto/Clamp it", "Clamp"), "is no address of a page"),
    ],
)
def test_a_new_page_is_refused_when_it_has_no_place(begin, tmp_path, arguments, says):
    """With what to write instead; nothing is written."""
    code, log = begin(*arguments)
    assert code != 0
    assert says in log
    assert len(list((tmp_path / "docs").rglob("*.md"))) == 2


def test_a_new_page_replaces_none(begin, tmp_path):
    """The second time it is refused."""
    (tmp_path / "docs" / "howto").mkdir()
    begin("howto/clamp", "Clamp")
    (tmp_path / "docs" / "howto" / "clamp.md").write_text("my text", encoding="utf-8")
    code, log = begin("howto/clamp", "Clamp")
    assert code != 0
    assert "is there already" in log
    assert (tmp_path / "docs" / "howto" / "clamp.md").read_text("utf-8") == "my text"
