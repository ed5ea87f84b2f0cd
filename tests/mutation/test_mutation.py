"""Tests of how mutants are sampled and judged; the measuring itself is `nox -s mutation`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from coverage import CoverageData
from reach import MOST, Reach
from sampling import draw, score

# As many items at the first place as at all others together.
ITEMS = [("+", number) for number in range(11)] + [("word", number) for number in range(11, 22)]


def place(item: tuple[str, int]) -> object:
    """All of one kind stand at one place; each of the other has its own."""
    kind, number = item
    return kind if kind == "+" else number


def test_each_place_gives_one_fault_at_most():
    """One operator with eleven replacements weighs no more than one word."""
    drawn = draw(ITEMS, place, 100, seed=0)
    assert len(drawn) == 12
    assert [kind for kind, _ in drawn].count("+") == 1


def test_a_sample_can_be_drawn_again():
    """The seed alone decides."""
    first, again, other = (draw(ITEMS, place, 6, seed) for seed in (0, 0, 1))
    assert len(first) == 6
    assert first == again != other


def test_a_score_has_the_interval_of_wilson():
    """Numbers from his formula by hand; at the ends, the interval stays within 0 and 1."""
    assert score(50, 100) == pytest.approx((0.5, 0.4038, 0.5962), abs=1e-4)
    assert score(0, 10) == pytest.approx((0, 0, 0.2775), abs=1e-4)
    assert score(10, 10) == pytest.approx((1, 0.7225, 1), abs=1e-4)
    with pytest.raises(ValueError, match="no fault was made"):
        score(0, 0)


def test_a_fault_meets_the_tests_of_its_line():
    """On a line that runs on import it meets those of the module."""
    reach = Reach({"one.py": {1: [], 2: ["a", "b"], 3: ["b", "c"]}})
    assert reach.tests_of("one.py", 2) == ["a", "b"]
    assert reach.tests_of("one.py", 1) == reach.tests_of("one.py", 99) == ["a", "b", "c"]
    assert reach.tests_of("other.py", 1) == []


def test_of_many_tests_each_function_sends_one_first():
    """One with hundreds of parameters leaves room for the others, and is asked far apart."""
    many = [f"t.py::many[{number:03}]" for number in range(2 * MOST)]
    chosen = Reach({"one.py": {1: [*many, "t.py::few[0]", "t.py::few[1]", "t.py::one"]}})
    tests = chosen.tests_of("one.py", 1)
    assert len(tests) == MOST == len(set(tests))
    assert tests[:3] == ["t.py::many[000]", "t.py::few[0]", "t.py::one"]
    assert tests[4] == "t.py::few[1]"
    assert {many.index(test) // 30 for test in tests if "many" in test} == set(range(10))


def test_lines_are_read_from_contexts(tmp_path):
    """A phase is part of its test; what ran on import belongs to none."""
    data = CoverageData(str(tmp_path / "coverage"))
    for context, lines in [("", [1]), ("t.py::x|setup", [2]), ("t.py::x|run", [2, 3])]:
        data.set_context(context)
        data.add_lines({str(tmp_path / "src" / "one.py"): lines})
    data.write()
    (tmp_path / "clock").write_text(json.dumps({"t.py::x": 0.5}))
    reach = Reach.read(tmp_path / "coverage", tmp_path / "clock", tmp_path)
    assert reach.modules == {"src/one.py": {1: [], 2: ["t.py::x"], 3: ["t.py::x"]}}
    assert reach.seconds == {"t.py::x": 0.5}


def test_the_clock_has_every_test_with_all_its_phases(tmp_path):
    """Of all processes that pytest ran side by side."""
    (tmp_path / "test_two.py").write_text(
        "import time\nimport pytest\n\n@pytest.fixture\ndef slow():\n    time.sleep(0.2)\n\n"
        "def test_waits(slow):\n    pass\n\ndef test_other():\n    pass\n"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "clock", "-p", "no:cacheprovider"),
            *("--numprocesses", "2", "-c", os.devnull, "--rootdir", str(tmp_path)),
        ],
        cwd=tmp_path,
        env={
            **os.environ,
            "CLOCK": str(tmp_path / "clock.json"),
            "PYTHONPATH": str(Path(__file__).parent),
        },
        capture_output=True,
        check=True,
    )
    assert b"2 passed" in done.stdout
    seconds = json.loads((tmp_path / "clock.json").read_text())
    assert {name.partition("::")[2] for name in seconds} == {"test_waits", "test_other"}
    assert max(seconds.values()) > 0.2
