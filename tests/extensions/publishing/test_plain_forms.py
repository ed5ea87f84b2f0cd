"""Tests of publishing/plain_forms.py: what the package does, in plain torch."""

import io
from contextlib import redirect_stdout

import pytest

from publishing.plain_forms import as_comment, needs_package, to_plain


def printed(source: str) -> str:
    """What code prints."""
    with redirect_stdout(io.StringIO()) as said:
        exec(source, {})
    return said.getvalue()


RAISES = """\
import torch
from gradbook import expect_error, graph

x = torch.ones(3)
with expect_error(RuntimeError, match="does not require grad") as caught:
    # The sum has no graph.
    x.sum().backward()
print(len(x))
"""
WARNS = """\
import torch, warnings
from gradbook import expect_error

with expect_error(UserWarning, match="old"):
    warnings.warn("old")
"""
FITS = """\
import torch
from gradbook import fit, seed_everything

seed_everything(3)
model = torch.nn.Linear(1, 1)
loader = [(torch.ones(2, 1), torch.zeros(2, 1))]
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
fit(model, loader, torch.nn.MSELoss(), optimizer, epochs=2)
print(model.weight.item())
"""


def test_a_block_that_must_fail_is_try_and_except():
    """Its error is printed; the import goes, other names of it stay."""
    plain = to_plain(RAISES)
    assert "from gradbook import graph\n" in plain
    assert printed(plain.replace("from gradbook import graph\n", "")) == (
        "RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn\n3\n"
    )


def test_a_block_that_must_warn_records_the_warning():
    """And prints it as the package does, with its kind."""
    plain = to_plain(WARNS)
    assert not needs_package(plain)
    assert printed(plain) == "UserWarning: old\n" == printed(WARNS)


def test_a_training_is_a_loop():
    """The loop does what `fit` does, on the same numbers."""
    plain = to_plain(FITS)
    assert not needs_package(plain)
    assert "torch.manual_seed(3)\n" in plain
    assert printed(plain) == printed(FITS)


@pytest.mark.parametrize(
    "source",
    [
        "fit(model, loader, loss_fn, optimizer, epochs=2, clip_norm=1.0)",
        "fit(model, loader, loss_fn, optimizer)",
        "seed_everything(3, 4)",
        "with expect_error(ValueError): f()",
        "with expect_error(ValueError), other():\n    f()",
        "graph(loss)",
    ],
)
def test_what_has_no_plain_form_stays(source):
    """A loop of five lines is not all that `fit` can do."""
    assert to_plain(source) == source
    assert as_comment(source) == ""


def test_a_block_inside_a_function_keeps_its_place():
    """Indented as it was."""
    source = "def f():\n    with expect_error(ValueError):\n        int('a')\n    return 3"
    assert to_plain(source) == (
        "def f():\n    try:\n        int('a')\n    except ValueError as error:\n"
        '        print(f"{type(error).__name__}: {error}")\n    return 3'
    )


def test_a_comment_says_each_form_once():
    """A short one in a line, a longer one below it; without the marks it is code."""
    comment = as_comment(f"{RAISES}seed_everything(0)\nseed_everything(0)\n")
    assert (
        comment.count("# Without gradbook, in place of `seed_everything`: torch.manual_seed(0)")
        == 1
    )
    head, *code = comment.splitlines()[:5]
    assert head == "# Without gradbook, in place of `expect_error`:"
    assert code[0] == "# try:"
    assert code[-1] == '#     print(f"{type(error).__name__}: {error}")'


def test_code_that_imports_the_package_needs_it():
    """In any way; a name that only begins like it does not count."""
    assert needs_package("from gradbook import graph")
    assert needs_package("import gradbook.data as data")
    assert not needs_package("import torch, gradbooks")
