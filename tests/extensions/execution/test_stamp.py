"""Tests of execution/stamp.py, the name of the cache of results."""

from importlib import metadata

import pytest

from execution import stamp


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A file of a package, beside a folder that stands for the one of the extensions."""
    extensions = tmp_path / "extensions"
    extensions.mkdir()
    for name in stamp.RUNS:
        (extensions / name).write_text("a = 1")
    monkeypatch.setattr(stamp, "__file__", str(extensions / "stamp.py"))
    file = tmp_path / "package" / "module.py"
    file.parent.mkdir()
    file.write_text("a = 1")
    return file


@pytest.fixture
def is_new(source):
    """Whether the stamp was not seen before."""
    seen = {stamp.stamp(source.parent)}

    def look() -> bool:
        before = len(seen)
        seen.add(stamp.stamp(source.parent))
        return len(seen) > before

    assert not look()
    return look


def test_all_that_can_change_an_output_counts(source, is_new, monkeypatch):
    """A source file, a new file, a file's name and a version; what tools leave does not."""
    source.with_suffix(".pyc").write_bytes(b"compiled")
    assert not is_new()
    (source.parent / ".ruff_cache").mkdir()
    (source.parent / ".ruff_cache" / "1").write_text("checked")
    assert not is_new()
    source.write_text("a = 2")
    assert is_new()
    (source.parent / "messages.json").write_text("{}")
    assert is_new()
    source.rename(source.with_name("renamed.py"))
    assert is_new()
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "9" if name == "torch" else version(name))
    assert is_new()


def test_extensions_count_if_they_set_up_kernels(source, is_new):
    """The others work on results, in every build; a change of one must not run the whole book."""
    extensions = source.parents[1] / "extensions"
    (extensions / "hosting.py").write_text("a = 1")
    assert not is_new()
    (extensions / "warm_server.py").write_text("a = 2")
    assert is_new()


def test_the_extensions_that_count_exist():
    """A renamed one would be left out without a word."""
    folder = stamp.Path(stamp.__file__).parent
    assert all((folder / name).is_file() for name in stamp.RUNS)
