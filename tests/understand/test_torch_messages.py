"""Tests that the catalogue knows what the installed torch can say of autograd.

With another torch they say what is new: add a wording or an entry to the catalogue, or a rule with
its reason to torch_messages.toml.
"""

import json
import textwrap
from importlib import metadata

import pytest
import torch_messages
from torch_messages import GAP, Message, is_known, rules, said, states

from gradbook.understand.catalogue import load

TORCH = metadata.version("torch").split("+")[0]


@pytest.fixture(scope="module")
def stored():
    """The counts that the site shows."""
    return json.loads(torch_messages.COUNTS.read_text("utf-8"))


def test_every_message_is_known_or_excluded():
    """What is neither is new: the failure lists it, with its file."""
    new = [message for message, state in states().items() if state == "new"]
    listed = "\n".join(f"{message.place}: {message.text[:300]}" for message in new)
    assert not new, f"torch {TORCH} says what the catalogue does not know:\n{listed}"


def test_there_is_much_to_know():
    """An empty list would pass every other test here."""
    assert len(torch_messages.from_python()) > 500
    assert len(torch_messages.from_libraries()) > 800
    assert sum(state == "known" for state in states().values()) > 300


def test_no_rule_covers_a_known_message():
    """Such a rule would be too broad: it could hide a message that people meet."""
    hidden = [
        (rule.reason, message.text)
        for message, state in states().items()
        if state == "known"
        for rule in rules()
        if rule.covers(message)
    ]
    assert hidden == []


def test_no_rule_covers_a_wording_of_the_catalogue():
    """Neither its examples, nor what its reproducers raise."""
    hidden = [
        (rule.reason, text)
        for text in torch_messages.wordings()
        for rule in rules()
        if any(rule.covers(Message(text, place)) for place in torch_messages.LIBRARIES)
    ]
    assert hidden == []


def test_every_expression_of_a_rule_is_needed(stored):
    """One that covers nothing is a leftover of another torch."""
    if stored["torch"] != TORCH:
        pytest.skip(f"the rules were written for torch {stored['torch']}, this is {TORCH}")
    idle = [
        (rule.reason, pattern.pattern)
        for rule in rules()
        for pattern in rule.patterns
        if not any(
            rule.place.search(message.place) and pattern.search(message.text)
            for message in states()
        )
    ]
    assert idle == []


def test_the_counts_of_the_site_are_those_of_this_torch(stored):
    """`python tests/understand/torch_messages.py --write` writes them anew."""
    if stored["torch"] != TORCH:
        pytest.skip(f"the counts are those of torch {stored['torch']}, this is {TORCH}")
    assert stored == torch_messages.counts()
    assert stored["found"] == stored["known"] + stored["excluded"] + stored["new"]
    assert sum(stored["reasons"].values()) == stored["excluded"]


# ------------------------------------------------------------------------- how they are collected


def test_templates_are_read_off_the_syntax_tree():
    """Of exceptions, warnings, assertions, deprecations, and texts that have a name."""
    source = """
    def f(x):
        msg = "the gradient of " + name
        if x:
            raise ValueError(msg)
        raise RuntimeError(f"expected {x} to be a leaf tensor here" " (or not)")
    warnings.warn("this hook %s will not be called" % x, stacklevel=2)
    assert x, "x must be a {} tensor with gradient".format(x)
    e = DelayedError(b"trying to differentiate this thing twice", 1)
    raise ValueError("short")
    print("a sentence that nobody raises is not listed")
    @deprecated("please use the other function now", category=FutureWarning)
    def g(): ...
    """
    assert set(said(textwrap.dedent(source))) == {
        f"the gradient of {GAP}",
        f"expected {GAP} to be a leaf tensor here (or not)",
        f"this hook {GAP} will not be called",
        f"x must be a {GAP} tensor with gradient",
        "trying to differentiate this thing twice",
        "please use the other function now",
    }


@pytest.mark.parametrize(
    ("text", "place", "known"),
    [
        ("can't optimize a non-leaf Tensor", "optim/optimizer.py", True),
        (f"element {GAP} of tensors does not require grad", "autograd/__init__.py", True),
        (f"Target size ({GAP}) must be the same as input size ({GAP})", "nn/functional.py", True),
        (f"the gradient of {GAP} is made of cheese", "autograd/__init__.py", False),
        (" of tensors does not require grad and does not have a grad_fn", "libtorch_cpu.so", True),
        ("the gradient is made of cheese", "libtorch_cpu.so", False),
    ],
)
def test_what_counts_as_known(text, place, known):
    """A pattern finds it, or it fits a wording of the catalogue, or it is part of one."""
    assert is_known(Message(text, place)) is known


def test_wordings_have_the_examples_and_what_is_raised():
    """Both, each once."""
    assert {text for entry in load().entries for text in entry.examples} & set(
        torch_messages.wordings()
    )
    assert any("hook" in text for text in torch_messages.live())
    assert len(set(torch_messages.wordings())) == len(torch_messages.wordings())


def test_a_new_message_fails_with_its_file_and_its_words(monkeypatch):
    """As it will with the next torch."""
    new = Message("the gradient is made of cheese", "autograd/__init__.py")
    monkeypatch.setattr("test_torch_messages.states", lambda: {new: "new"})
    with pytest.raises(AssertionError, match=r"autograd/__init__\.py: the gradient is made"):
        test_every_message_is_known_or_excluded()
