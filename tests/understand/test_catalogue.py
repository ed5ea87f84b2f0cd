"""Tests of `gradbook.understand.catalogue`, and of its data, held against the live messages."""

import json
import re
import re._parser as grammar
import shutil
import subprocess
import traceback
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import held
from gradbook.understand import catalogue
from gradbook.understand.catalogue import BASE_URL, find, load, match_message, nearest, recognise
from reproducers import CURED, RAISING

ENTRIES = load().entries
WITH_MESSAGE = [entry for entry in ENTRIES if entry.patterns]
OWNER = {source: entry for entry in ENTRIES for source in entry.source}

# The messages and traps that the catalogue promises to cover. A letter is another cause.
ERRORS = """
01 01b 01c 01d 01e 02 03 04 05 06 07 07b 07c 07d 07e 08 08b 10 11 12 16 16b 16c 16d 20 20b 20c 21
22 23 24 24b 24c 25 26 27 28 30 31 31b 35 35b 36 37 38 39 39b 40 40b 40c 40d 40e 40f 41 42 43 44
46 47 48 50 52 53 60 61 61b 62 65 66 66b 67 67b 68 70 80 81 82 83 83b 84 84b 84c 85 86 87 87b 88
89 90 90b 91 92 92b 94 100 101 102 102b 104 105 106 106b 108 109 110 111 112 112b 113 114b 115 117
118 119b 121 130 133 133b 134 135b 135c 141 142 142b 142c 143 144 145 146 147 148 149 150 151 152b
154 154b 155b 156 157 157b 158 160 161 161b 162 163 170 171 172 173 174 180 181 182 184 185 186
187 188 190 191 192 194 195 197 198 198b 199b 200 201 202 203 204 205 207 208 209 210 211 212 213
220 221 222 223 231 232 301 302 303 304 304b 305 306 306b 307 310 311 311b 311c 311d 312 313 313b
314 315 316 317 318 319 320 320b 321 322 323
330 331 332 334 334b 335 335b 335c 337 338 340 342 343 344 345 346 347 348 349 350 351 351b
351c 352 353 354 356 356b 357
360 361 361b 362 363 363b 364 364b 364c 364d 365 366 366b 367 368 369 370 370b 371 372 373
375 377 378
"""
WARNINGS = """
01 03 04 05 06 10 11 14 15 18 20 21 40 41 52 53 54 55 56 60 70 71
80 82 83 85 86 87 88 89 90 91
"""
TRAPS = """
01 02 03 04 06 07 08 10 11 12 13 14 15 16 17 18 19 21 22 30 31 32 33 34 35 38 39 40 42 43 44 45 47
49 50 51 54 55 60 61 62 63 64 65 66 67 70 71 72 73 74 76 77 78 79b 80 81 82 83 84 86 87 88 92 93 95
98 99 100 101 102 110 111 112 113 114 115 116 121 123 130 132 133 134
"""

# W60 is a line of the C++ log: no Python object carries it.
LOGGED = {"W60"}


@pytest.fixture(scope="module", autouse=True)
def all_warnings_once_more():
    """Torch issues some warnings once a process; the tests want to see them each time."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


def caught(source):
    """What the program raises, and the texts of its warnings."""
    torch.manual_seed(0)
    error = None
    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter("always")
        try:
            RAISING[source]()
        except Exception as raised:  # any kind may come
            error = raised
    return error, recorded


def message_of(source):
    """The whole message of a program, as torch prints it today."""
    error, recorded = caught(source)
    if source.startswith("E"):
        return str(error)
    texts = [str(one.message) for one in recorded]
    return next(text for text in texts if match_message(text) is OWNER[source])


# ------------------------------------------------------------------------------------------ data


def test_every_known_message_and_trap_is_covered_once():
    """No source is forgotten, none belongs to two entries."""
    promised = {f"E{number}" for number in ERRORS.split()}
    promised |= {f"W{number}" for number in WARNINGS.split()}
    promised |= {f"T{number}" for number in TRAPS.split()}
    sources = [source for entry in ENTRIES for source in entry.source]
    assert len(sources) == len(set(sources))
    assert set(sources) == promised
    assert set(RAISING) == {source for source in promised if not source.startswith("T")}


def test_ids_are_unique_and_readable():
    """An id is part of an address."""
    ids = [entry.id for entry in ENTRIES]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", one) for one in ids)


def test_every_entry_is_on_a_page_that_exists():
    """Errors and warnings on one kind of page, traps on another."""
    pages = {(group.folder, group.id): 0 for group in load().groups}
    assert len(pages) == len(load().groups)
    for entry in ENTRIES:
        assert entry.kind in {"error", "warning", "trap"}
        pages[entry.folder, entry.group] += 1
    assert all(0 < count <= 20 for count in pages.values())


def test_related_entries_exist():
    """And no entry is related to itself."""
    ids = {entry.id for entry in ENTRIES}
    for entry in ENTRIES:
        assert set(entry.related) <= ids - {entry.id}
        assert len(set(entry.related)) == len(entry.related)


def test_every_entry_says_why_and_what_to_do():
    """Titles, causes, cures and signals are there, and backquotes come in pairs."""
    for entry in ENTRIES:
        texts = [entry.title, entry.signal, *entry.because, *entry.cures]
        for variant in entry.variants:
            texts += [variant.title, variant.because, variant.cure]
        assert entry.because
        assert entry.cures
        for text in texts:
            assert text.strip() == text
            assert text
            assert text.count("`") % 2 == 0
        for text in (entry.signal, *entry.because, *entry.cures):
            assert text.endswith((".", "`", "?")), text


def test_messages_and_traps_have_what_belongs_to_them():
    """A message has patterns, examples and a class; a trap prints nothing."""
    for entry in ENTRIES:
        has = bool(entry.patterns), bool(entry.examples), bool(entry.type)
        assert has == ((False,) * 3 if entry.kind == "trap" else (True,) * 3), entry.id
        assert not entry.context or entry.patterns


def test_variants_have_their_sources_from_the_entry():
    """Each variant that names a program names one of its own entry."""
    for entry in ENTRIES:
        sources = [variant.source for variant in entry.variants if variant.source]
        assert set(sources) <= set(entry.source)
        assert len(sources) == len(set(sources))
        assert len(entry.variants) != 1, "a single cause is the entry itself"


def test_what_stands_on_no_page_has_no_number():
    """The numbers of all other texts are held on the page of the entry; see tests/held.py."""
    for entry in ENTRIES:
        for variant in entry.variants[:1]:  # the first one is the section itself
            for text in (variant.title, variant.because, variant.cure):
                assert held.read(text).numbers == [], text


def test_the_most_asked_are_marked():
    """They get the full treatment in the Clinic."""
    top = {entry.id for entry in ENTRIES if entry.top}
    assert 35 <= len(top) <= 45
    assert {"no-graph", "graph-freed", "modified-in-place", "grad-is-none"} <= top


def test_an_unknown_id_is_a_key_error():
    """The message names it."""
    with pytest.raises(KeyError, match="no-such-entry"):
        load()["no-such-entry"]


def test_addresses_are_made_in_one_place():
    """The page of an entry follows from kind and id, that of a group from folder and id."""
    assert load()["no-graph"].url == BASE_URL + "clinic/errors/no-graph.html"
    assert load()["zero-grad-forgotten"].path == "clinic/traps/zero-grad-forgotten.html"
    assert load().groups[0].path == "clinic/errors/backward.html"


def test_no_two_pages_have_one_address():
    """An entry may not be called as a group of its folder is."""
    paths = [one.path for one in (*ENTRIES, *load().groups)]
    assert len(paths) == len(set(paths))


def test_json_for_the_site_has_every_entry():
    """The search in the browser is fed with it."""
    data = json.loads(catalogue.to_json())
    assert [row["id"] for row in data["entries"]] == [entry.id for entry in ENTRIES]
    assert data["entries"][0]["patterns"] == list(ENTRIES[0].patterns)
    assert data["groups"][0]["path"] == "clinic/errors/backward.html"


# -------------------------------------------------------------------------------------- patterns


def repeats(node, inside=False):
    """Yield a complaint for each quantifier in a quantifier, and each unbounded dot."""
    for name, argument in node:
        if name in (grammar.MAX_REPEAT, grammar.MIN_REPEAT):
            _, most, body = argument
            if most > 1 and inside:
                yield "a quantifier inside a quantifier"
            if most == grammar.MAXREPEAT and any(kind is grammar.ANY for kind, _ in body):
                yield "an unbounded dot"
            yield from repeats(body, inside or most > 1)
        elif name is grammar.SUBPATTERN:
            yield from repeats(argument[3], inside)
        elif name is grammar.BRANCH:
            for branch in argument[1]:
                yield from repeats(branch, inside)
        elif name in (grammar.ASSERT, grammar.ASSERT_NOT):
            yield from repeats(argument[1], inside)


@pytest.mark.parametrize("entry", WITH_MESSAGE, ids=lambda entry: entry.id)
def test_patterns_are_plain_and_linear(entry):
    """Only what Python and JavaScript share, and nothing that backtracks."""
    for pattern in (*entry.patterns, *entry.context):
        assert not re.search(r"\(\?(?!:|=|!)|\\[AZGz]|\\[1-9]|\(\?<", pattern), pattern
        assert not pattern.startswith((".", "(?:.")), pattern
        assert not re.match(r"(?:\\w|\[[^]]*\])[+*]", pattern), f"begins anywhere: {pattern}"
        assert list(repeats(grammar.parse(pattern))) == []


def test_the_lint_of_patterns_finds_what_it_forbids():
    """The check above can fail."""
    assert list(repeats(grammar.parse(r"(a+)+"))) == ["a quantifier inside a quantifier"]
    assert list(repeats(grammar.parse(r"(?:b|(?=a.*))"))) == ["an unbounded dot"]


def pattern_found(pattern, text):
    """Whether a pattern finds a text with its white space collapsed."""
    return re.search(pattern, " ".join(text.split()), re.ASCII) is not None


def owners_of(text):
    """Ids of all entries that have a pattern for this message."""
    return [
        entry.id
        for entry in WITH_MESSAGE
        if any(pattern_found(pattern, text) for pattern in entry.patterns)
    ]


def texts_by_entry():
    """All texts that the catalogue knows, with the entry each belongs to."""
    return [(text, entry) for entry in WITH_MESSAGE for text in entry.examples]


@pytest.mark.parametrize(
    ("text", "entry"), texts_by_entry(), ids=lambda value: getattr(value, "id", None)
)
def test_a_message_belongs_to_one_entry(text, entry):
    """Its own patterns find it, those of all others do not."""
    assert owners_of(text) == [entry.id]


def test_every_pattern_finds_an_example():
    """A pattern that nothing needs is a pattern that nothing tests."""
    idle = [
        (entry.id, pattern)
        for entry in WITH_MESSAGE
        for pattern in entry.patterns
        if not any(pattern_found(pattern, text) for text in entry.examples)
    ]
    assert idle == []


NODE = shutil.which("node")
IN_JAVASCRIPT = """
const {patterns, texts} = JSON.parse(require("fs").readFileSync(0, "utf8"));
const found = patterns.map((p) => { const r = new RegExp(p); return texts.map((t) => r.test(t)); });
process.stdout.write(JSON.stringify(found));
"""


@pytest.mark.skipif(NODE is None, reason="node is not installed: it runs the JavaScript side")
def test_patterns_mean_the_same_in_javascript():
    """Each pattern, on each text, in both engines."""
    patterns = [p for entry in WITH_MESSAGE for p in (*entry.patterns, *entry.context)]
    texts = [" ".join(text.split()) for text, _ in texts_by_entry()]
    texts += (
        [text.upper() for text in texts] + [f"é {text} ß" for text in texts] + ["", " ", "\u00a0"]
    )
    ran = subprocess.run(
        [NODE, "-e", IN_JAVASCRIPT],
        input=json.dumps({"patterns": patterns, "texts": texts}),
        capture_output=True,
        text=True,
        check=True,
    )
    here = [[bool(re.search(p, text, re.ASCII)) for text in texts] for p in patterns]
    assert json.loads(ran.stdout) == here


# ------------------------------------------------------------------------- recognition, live


@pytest.mark.parametrize("source", sorted(set(RAISING) - LOGGED))
def test_the_live_message_is_recognised(source):
    """As the text of the exception, as a pasted traceback, and by its first line."""
    error, recorded = caught(source)
    entry = OWNER[source]
    if source.startswith("E"):
        assert error is not None
        assert type(error).__name__ in entry.type
        texts = [str(error), "".join(traceback.format_exception(error))]
        texts.append(f"{type(error).__name__}: {texts[0].splitlines()[0]}")
    else:
        ours = [one for one in recorded if match_message(str(one.message)) is entry]
        assert ours
        assert ours[0].category.__name__ in entry.type
        texts = [str(ours[0].message)]
        texts.append(warnings.formatwarning(ours[0].message, ours[0].category, "a.py", 3, "f(x)"))
    for text in texts:
        assert recognise(text) is entry
        assert [match.entry for match in find(text)] == [entry]
    assert owners_of(texts[0]) == [entry.id]


def test_a_line_of_the_c_log_is_recognised(capfd):
    """DDP's advice is written by C++, with a prefix of its own."""
    RAISING["W60"]()
    logged = capfd.readouterr().err
    assert recognise(logged) is OWNER["W60"]


@pytest.mark.parametrize("source", sorted(CURED))
def test_the_cure_runs_clean(source):
    """Each cure runs without an error or a warning, and asserts what it does now."""
    torch.manual_seed(0)
    CURED[source]()


def test_most_programs_have_a_cure():
    """A warning that is only a hint needs none."""
    assert set(RAISING) - set(CURED) == {"W11"}


# --------------------------------------------------------------------- recognition, pasted texts


def test_colours_and_prefixes_do_no_harm():
    """IPython colours, pytest's E, torchrun's rank, a log's date, an exception group's bar."""
    line = "grad can be implicitly created only for scalar outputs"
    for text in (
        f"\x1b[0;31mRuntimeError\x1b[0m: {line}",
        f"E       RuntimeError: {line}",
        f"[rank0]: RuntimeError: {line}",
        f"2026-01-01 10:00:00 | ERROR | RuntimeError: {line}",
        f"  | RuntimeError: {line}",
        f"torch.SomeError: {line}\r\n",
    ):
        assert recognise(text).id == "non-scalar-backward"


def test_a_wrapped_message_is_recognised():
    """Terminals and web pages break lines."""
    text = """RuntimeError: one of the variables needed for
        gradient computation has been
        modified by an inplace operation: [torch.FloatTensor [3]]"""
    assert recognise(text).id == "modified-in-place"


def test_a_message_inside_a_sentence_is_recognised():
    """As it is written in a question."""
    text = "Hi, I get element 0 of tensors does not require grad and does not have a grad_fn. Why?"
    assert recognise(text).id == "no-graph"
    assert recognise("x " * 3000 + text).id == "no-graph"


def test_the_last_message_of_a_text_counts():
    """Inside one long text without exception lines the last one is the one that ended it."""
    filler = "word " * 2000
    text = (
        f"{filler} optimizer got an empty parameter list {filler} can't optimize a non-leaf Tensor"
    )
    assert recognise(text).id == "optimizer-non-leaf"
    assert [match.entry.id for match in find(text)] == ["optimizer-non-leaf", "optimizer-empty"]


def test_the_last_error_of_a_traceback_counts():
    """With chained exceptions, the one that reached the user."""
    text = """Traceback (most recent call last):
  File "a.py", line 1, in <module>
ValueError: optimizer got an empty parameter list

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
ValueError: can't optimize a non-leaf Tensor
"""
    assert recognise(text).id == "optimizer-non-leaf"


def test_the_cause_counts_where_the_last_error_is_unknown():
    """Frameworks wrap the error in one of their own."""
    text = """Traceback (most recent call last):
  File "a.py", line 1, in <module>
RuntimeError: grad can be implicitly created only for scalar outputs

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
some.framework.StepFailed: training step 3 failed
"""
    assert recognise(text).id == "non-scalar-backward"


def test_an_error_counts_more_than_a_warning():
    """Warnings stand all over a log."""
    text = """/lib/a.py:3: UserWarning: volatile was removed and now has no effect.
  volatile
Traceback (most recent call last):
  File "a.py", line 1, in <module>
ValueError: can't optimize a non-leaf Tensor
/lib/a.py:3: UserWarning: Anomaly Detection has been enabled.
"""
    assert [match.entry.id for match in find(text)] == [
        "optimizer-non-leaf",
        "anomaly-mode-on",
        "volatile-removed",
    ]
    assert find(text)[0].name == "ValueError"


def test_python_own_words_need_a_traceback_about_gradients():
    """A missing product has nothing to do with autograd."""
    line = "TypeError: unsupported operand type(s) for *: 'float' and 'NoneType'"
    trace = (
        'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    {}\n' + line
    )
    assert recognise(line).id == "grad-is-none"
    assert recognise(trace.format("w = w - lr * w.grad")).id == "grad-is-none"
    assert recognise(trace.format("total = price * amount")) is None
    assert recognise(line.replace("TypeError", "KeyError")) is None


def test_a_log_of_ten_thousand_lines():
    """The message is found wherever it stands."""
    message = "RuntimeError: can't optimize a non-leaf Tensor"
    frame = '  File "/lib/module.py", line {0}, in call_{0}\n    return self.layer_{0}(x)\n'
    frames = "".join(frame.format(n) for n in range(5000))
    text = "Traceback (most recent call last):\n" + frames + message
    assert recognise(text).id == "optimizer-non-leaf"
    assert recognise(message + "\n" + frames).id == "optimizer-non-leaf"
    noise = "".join(f"step {n} RuntimeError: retry {n}\n" for n in range(10_000))
    assert recognise(noise + message).id == "optimizer-non-leaf"
    assert recognise(noise) is None


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n\n", "\x00\xff", ":", "Error:", "Warning: ", "E" * 10_000],
)
def test_nothing_is_recognised_in_junk(text):
    """Junk gets None, not a guess."""
    assert recognise(text) is None


@given(st.text(max_size=300))
def test_any_text_gets_an_answer(text):
    """Recognition and the nearest entries never fail."""
    assert recognise(text) is None or recognise(text) in ENTRIES
    assert len(nearest(text)) <= 3


# --------------------------------------------------------------------------------------- nearest


def test_nearest_looks_at_the_message_of_a_traceback():
    """Not at the frames around it."""
    text = 'Traceback:\n  File "anomaly.py", line 1\nRuntimeError: the optimizer has no parameter\n'
    assert any(entry.id.startswith("optimizer") for entry in nearest(text))


def test_nearest_is_empty_where_no_word_is_shared():
    """Nothing is better than a wrong hint."""
    assert nearest("zzz qqq") == ()


def test_nearest_wants_a_positive_number():
    """The message names the argument and the value."""
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        nearest("gradient", n=0)
