"""Tests of execution/kept.py."""

from pathlib import Path

from execution.kept import kept


def finder(found: list[str], answer: object):
    """A function that says in `found` that it was called."""

    def find() -> object:
        found.append("called")
        return answer

    return find


def test_what_is_kept_is_not_found_again(tmp_path):
    """From the file it is the same as when it was found, tuples as lists both times."""
    called: list[str] = []
    path = tmp_path / "a" / "b.json"
    find = finder(called, {"x": (1, "é")})
    for _ in range(2):
        assert kept(path, ["text", "code"], find) == {"x": [1, "é"]}
    assert called == ["called"]


def test_another_text_or_a_broken_file_is_found_anew(tmp_path):
    """And takes the place of what was there: a file never holds more than one result."""
    called: list[str] = []
    path = tmp_path / "b.json"
    kept(path, ["text"], finder(called, 1))
    assert kept(path, ["another"], finder(called, 2)) == 2
    path.write_text("{", encoding="utf-8")
    assert kept(path, ["another"], finder(called, 3)) == 3
    assert called == ["called"] * 3
    assert list(tmp_path.iterdir()) == [path]


def test_a_site_that_keeps_nothing_finds_it_each_time():
    """Nothing is written."""
    called: list[str] = []
    nothing: Path | None = None
    assert [kept(nothing, [], finder(called, n)) for n in (1, 2)] == [1, 2]
