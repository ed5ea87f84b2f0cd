"""Tests of `gradbook.explain`: messages as exceptions and as texts, and any input at all."""

import collections
import gc
import traceback
import types
import warnings
import weakref
from html import escape

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from gradbook import explain
from gradbook.understand.catalogue import BASE_URL, load, match_message
from reproducers import RAISING

ENTRIES = load().entries
OWNER = {source: entry for entry in ENTRIES for source in entry.source}
LOGGED = {"W60"}  # a line of the C++ log: no Python object carries it
NON_SCALAR = "grad can be implicitly created only for scalar outputs"
TRACE = """\
Traceback (most recent call last):
  File "train.py", line 7, in <module>
    loss.backward()
  File "/usr/lib/python3.11/site-packages/torch/_tensor.py", line 630, in backward
    torch.autograd.backward(
RuntimeError: {}
"""


@pytest.fixture(scope="module", autouse=True)
def all_warnings_once_more():
    """Torch issues some warnings once a process; the tests want to see them each time."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


def raised(program):
    """The exception that a program ends with."""
    try:
        program()
    except Exception as error:  # any kind may come
        return error
    raise AssertionError("nothing was raised")


def what_comes(source):
    """The exception, or the warning, of a reproducer."""
    torch.manual_seed(0)
    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter("always")
        try:
            RAISING[source]()
        except Exception as error:  # any kind may come
            if source.startswith("E"):
                return error
    messages = [one.message for one in recorded]
    return next(one for one in messages if match_message(str(one)) is OWNER[source])


# ------------------------------------------------------------------------------ every message


@pytest.mark.parametrize("source", sorted(set(RAISING) - LOGGED))
def test_a_live_message_is_explained_as_its_own_entry(source):
    """As an exception, as its text, and as a pasted traceback; short, with the page's address.

    Neither the error, nor the tensors in its frames, nor torch's modes are changed.
    """
    error, entry = what_comes(source), OWNER[source]
    frames = [(one.tb_frame, one.tb_lineno) for one in chain(error.__traceback__)]
    values = [value for frame, _ in frames for value in frame.f_locals.values()]
    tensors = [value for value in values if issubclass(type(value), torch.Tensor)]
    before = world(), str(error), error.args, [looks(tensor) for tensor in tensors]
    assert explain(error).code == entry.id
    assert (world(), str(error), error.args, [looks(tensor) for tensor in tensors]) == before
    assert [(one.tb_frame, one.tb_lineno) for one in chain(error.__traceback__)] == frames

    texts = [str(error), f"{type(error).__name__}: {str(error).splitlines()[0]}"]
    if error.__traceback__ is not None:
        texts.append("".join(traceback.format_exception(error)))
    for answer in (explain(error), *(explain(text) for text in texts)):
        assert (answer.code, answer.kind) == (entry.id, entry.kind)
        assert (answer.title, answer.url) == (entry.title, entry.url)
        assert answer.because
        assert answer.cure
        assert len(str(answer).splitlines()) <= 20


def chain(trace):
    """The entries of a traceback."""
    while trace is not None:
        yield trace
        trace = trace.tb_next


def examples():
    """Every text of the catalogue, old wordings too, with its entry and the class to raise."""
    return [(text, entry) for entry in ENTRIES for text in entry.examples]


@pytest.mark.parametrize(
    ("text", "entry"), examples(), ids=lambda value: getattr(value, "id", None)
)
def test_every_wording_is_explained_in_every_form(text, entry):
    """As an exception without traceback, as a text, as bytes, colours and prefixes around it."""
    kind = type(entry.type[0], (Exception,), {})
    line = f"{entry.type[0]}: {text}"
    forms = [kind(text), text, line, line.encode(), f"[rank0]: {line}", f"E       {line}"]
    forms += [f"\x1b[0;31m{entry.type[0]}\x1b[0m: {text}", f"2026-01-01 10:00:00 | {line}\r\n"]
    if not entry.context:
        forms.append(TRACE.format(text).replace("RuntimeError", entry.type[0]))
    for form in forms:
        assert explain(form).code == entry.id, form


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (
            "one of the variables needed for gradient computation has been modified by an inplace "
            "operation: [torch.FloatTensor [3]], which is output 0 of ExpBackward0, is at version "
            "1; expected version 0 instead.",
            "modified-in-place",
        ),
        ("One of the differentiated Tensors appears to not have been used in the graph. "
         "Set allow_unused=True if this is the desired behavior.", "input-unused"),
        ("assigned grad has data of a different type", "grad-of-another-kind"),
        (
            "Output 0 of UnbindBackward0 is a view and is being modified inplace. This view is the "
            "output of a function that returns multiple views.",
            "multi-view-in-place",
        ),
        (
            "Trying to backward through the graph a second time, but the buffers have already been "
            "freed. Specify retain_graph=True when calling backward the first time.",
            "graph-freed",
        ),
    ],
    ids=["in place", "unused", "grad", "view", "freed"],
)  # fmt: skip
def test_wordings_of_older_torch(text, code):
    """Pasted from a question of some years ago."""
    assert explain(text).code == code
    assert explain(RuntimeError(text)).code == code


# ---------------------------------------------------------------------------------- exceptions


def vector_backward():
    """Raises the message about scalar outputs."""
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    y.backward()


def test_the_line_and_the_variable_of_an_exception():
    """Those of the program, not of torch."""
    answer = explain(raised(vector_backward))
    assert (answer.code, answer.subject) == ("non-scalar-backward", "y")
    assert answer.because[0] == "`y` is float32 of shape (3,)."
    number = vector_backward.__code__.co_firstlineno + 4
    assert answer.details["line"].endswith(f"test_explain.py:{number}: y.backward()")


def test_the_cause_behind_an_exception_is_found():
    """A framework wraps the error in one of its own."""

    def wrapped():
        try:
            vector_backward()
        except RuntimeError as error:
            raise KeyError("step 3") from error

    answer = explain(raised(wrapped))
    assert (answer.code, answer.subject) == ("non-scalar-backward", "y")
    assert answer.details["inside"] == "KeyError"


def test_the_context_behind_an_exception_is_found():
    """The handler of the error failed itself."""

    def failing_handler():
        try:
            vector_backward()
        except RuntimeError:
            return {}["fallback"]

    answer = explain(raised(failing_handler))
    assert answer.code == "non-scalar-backward"
    assert answer.details["inside"] == "KeyError"


def test_a_suppressed_context_is_not_looked_at():
    """`from None` says that it has nothing to do with it."""

    def replaced():
        try:
            vector_backward()
        except RuntimeError:
            raise KeyError("step 3") from None

    assert explain(raised(replaced)).code == "not-recognised"


def test_an_exception_group_is_opened():
    """Groups in groups too; the first known error counts."""
    inner = ExceptionGroup("workers", [ValueError("odd"), RuntimeError(NON_SCALAR)])
    group = ExceptionGroup("all", [KeyError("x"), inner, ValueError("optimizer got an empty")])
    answer = explain(group)
    assert answer.code == "non-scalar-backward"
    assert answer.details["inside"] == "ExceptionGroup"


def test_the_error_itself_counts_before_what_is_behind_it():
    """Both are known."""
    error = ValueError("optimizer got an empty parameter list")
    error.__context__ = RuntimeError(NON_SCALAR)
    assert explain(error).code == "optimizer-empty"
    assert "inside" not in explain(error).details


def test_errors_that_are_behind_each_other():
    """A ring is walked once, and a very long chain not to its end."""
    first, second = KeyError("a"), KeyError("b")
    first.__context__, second.__cause__ = second, first
    assert explain(first).code == "not-recognised"
    error = last = ValueError("0")
    for number in range(3_000):
        last.__context__ = ValueError(str(number))
        last = last.__context__
    last.__context__ = RuntimeError(NON_SCALAR)
    assert explain(error).code == "not-recognised"


def test_python_own_words_are_believed_only_near_gradients():
    """A missing gradient, and a missing something else, have one message."""

    def gradient_is_none():
        w = torch.ones(3, requires_grad=True)
        w.grad.zero_()

    def something_else():
        nothing = None
        nothing.zero_()

    answer = explain(raised(gradient_is_none))
    assert (answer.code, answer.subject) == ("grad-is-none", "w")
    assert explain(raised(something_else)).code == "not-recognised"
    doubtful = explain(AttributeError("'NoneType' object has no attribute 'zero_'"))
    assert doubtful.code == "grad-is-none"
    doubt = "These words are Python's own, so the error may come from elsewhere."
    assert doubtful.because[-1] == doubt
    assert doubt not in answer.because
    assert explain("'NoneType' object has no attribute 'zero_'").because[-1] == doubt


def test_an_exception_whose_text_fails():
    """Its class is named, and there is an answer."""

    class SilentError(Exception):
        def __str__(self):
            raise ValueError("no text")

    answer = explain(SilentError())
    assert (answer.code, answer.kind) == ("not-recognised", "unknown")
    assert answer.details["message"] == ""


def test_an_unknown_exception_gets_an_honest_answer():
    """With the entries that share its words, and the message."""
    answer = explain(RuntimeError("the optimizer has lost the gradient of a frozen layer"))
    assert (answer.code, answer.kind) == ("not-recognised", "unknown")
    assert answer.because[0] == "This text is not in the catalogue."
    assert answer.url == BASE_URL + "clinic/index.html"
    nearest = answer.details["nearest"].split(", ")
    assert len(nearest) == 3
    assert answer.because[1:] == tuple(
        f"It shares words with {one}: {load()[one].title}." for one in nearest
    )
    assert answer.details["message"].startswith("the optimizer has lost")


def test_the_variant_that_the_program_shows_comes_first():
    """The cause is one sentence, and its cure is the first one; nothing is left open."""
    answer = explain(what_comes("E01e"))
    assert answer.code == "no-graph"
    variant = next(one for one in load()["no-graph"].variants if one.source == "E01e")
    assert answer.possible == ()
    assert answer.details["cause"] == variant.title
    assert variant.because in answer.because
    assert answer.cure.splitlines()[0] == variant.cure
    assert len(answer.cure.splitlines()) <= 3


def test_what_the_message_itself_says():
    """In our words, where no traceback tells more."""
    for text, said in [
        (
            "one of the variables needed for gradient computation has been modified by an inplace "
            "operation: [torch.FloatTensor [2, 3]], which is output 0 of Exp, is at version 2; "
            "expected version 1 instead.",
            "The tensor is a torch.FloatTensor [2, 3], made by Exp; it was saved at version 1, and "
            "is at version 2: look for what changes it in place.",
        ),
        (
            "one of the variables needed for gradient computation has been modified by an inplace "
            "operation: [torch.FloatTensor [3]] is at version 1; expected version 0 instead.",
            "The tensor is a torch.FloatTensor [3]; it was saved at version 0, and is at version "
            "1: look for what changes it in place.",
        ),
        (
            "Function 'SqrtBackward0' returned nan values in its 0th output.",
            "The nan came out of SqrtBackward0.",
        ),
        (
            "The differentiated Tensor at index 1 appears to not have been used in the graph.",
            "It is input 1, counted from 0.",
        ),
        (
            "mat1 and mat2 shapes cannot be multiplied (4x3 and 2x5)",
            "The matrices are 4x3 and 2x5.",
        ),
    ]:
        assert explain(text).because[0] == said
        assert explain(RuntimeError(text)).because[0] == said


@pytest.mark.parametrize("id", ["no-derivative", "forward-ad-unsupported"])
def test_the_operation_of_a_message_is_named(id):  # noqa: A002 -- as the entry has it
    """It is the only thing that differs from one message to the next."""
    fact = explain(load()[id].examples[0]).because[0]
    assert fact.startswith(("It is the derivative of ", "The operation is "))
    assert len(fact.split()) > 3


# ---------------------------------------------------------------------------------------- texts


@pytest.mark.parametrize("text", ["", " ", "\n\t\n", b"", "\x1b[0m"])
def test_an_empty_text(text):
    """There is nothing to recognise, and no entry that would be near."""
    answer = explain(text)
    assert (answer.code, answer.because) == ("not-recognised", ("There is no text.",))
    assert "nearest" not in answer.details


@pytest.mark.parametrize("junk", [b"\x00\xff\xfe\x80" * 50, bytes(range(256)), "\x00\ud800", "{"])
def test_junk(junk):
    """Bytes that are no text, half a pair, a lone brace."""
    assert explain(junk).code == "not-recognised"
    assert explain(bytearray(b"\xff" + NON_SCALAR.encode())).code == "non-scalar-backward"


def test_a_traceback_without_its_message():
    """The line is there, and an honest answer."""
    answer = explain("\n".join(TRACE.splitlines()[:-1]))
    assert answer.code == "not-recognised"
    assert answer.details["line"] == "train.py:7: loss.backward()"


def test_a_frame_without_source():
    """The text may end there."""
    assert explain('  File "train.py", line 7, in <module>').details["line"] == "train.py:7: "


def test_a_traceback_of_library_code_only():
    """Then its last line has to do."""
    text = '  File "/usr/lib/python3.11/site-packages/a.py", line 7, in f\n    g()\n'
    assert explain(text).details["line"] == "/usr/lib/python3.11/site-packages/a.py:7: g()"


def test_the_line_of_a_pasted_traceback():
    """The last one that is the program's, also behind torchrun's prefix and in colours."""
    plain = TRACE.format(NON_SCALAR)
    ranked = "".join(f"[rank1]:{line}\n" for line in plain.splitlines())
    coloured = plain.replace('"train.py"', '\x1b[35m"train.py"\x1b[0m').replace(
        "line 7", "line \x1b[35m7\x1b[0m"
    )
    for text in (plain, ranked, coloured, plain.replace("\n", "\r\n")):
        answer = explain(text)
        assert answer.code == "non-scalar-backward"
        assert answer.details["line"] == "train.py:7: loss.backward()"


IPYTHON = """\
---------------------------------------------------------------------------
RuntimeError                              Traceback (most recent call last)
Cell In[4], line 2
      1 loss = model(batch)
----> 2 loss.backward()

File ~/env/lib/python3.11/site-packages/torch/_tensor.py:630, in Tensor.backward(self, gradient)
    620 if has_torch_function_unary(self):
--> 630 torch.autograd.backward(

RuntimeError: grad can be implicitly created only for scalar outputs
"""
OLD_IPYTHON = IPYTHON.replace("Cell In[4], line 2", "<ipython-input-4-0a1b2c> in <module>").replace(
    "torch/_tensor.py:630, in", "torch/tensor.py in"
)


def test_the_line_of_a_notebook_traceback():
    """The cell, not the library below it."""
    answer = explain(IPYTHON)
    assert answer.code == "non-scalar-backward"
    assert answer.details["line"] == "In[4]:2: loss.backward()"
    assert explain(OLD_IPYTHON).details["line"] == "<ipython-input-4-0a1b2c>:2: loss.backward()"
    own = IPYTHON.replace("~/env/lib/python3.11/site-packages/torch/_tensor.py", "~/net.py")
    assert explain(own).details["line"] == "~/net.py:630: torch.autograd.backward("
    assert "line" not in explain("----> 2 loss.backward()").details


def test_a_message_from_the_source_of_a_web_page():
    """Quotes and brackets stand there by name."""
    text = "can't optimize a non-leaf Tensor"
    assert explain(escape(text)) == explain(text)
    assert explain("a &amp; b").code == "not-recognised"


def test_a_log_of_windows_powershell():
    """It is UTF-16 with a mark in front; so is a file of an editor with UTF-8 and a mark."""
    line = f"RuntimeError: {NON_SCALAR}"
    for encoding in ("utf-16", "utf-8-sig", "utf-8"):
        assert explain(line.encode(encoding)).code == "non-scalar-backward"


def test_several_errors_in_one_text():
    """The last one is explained, the others are named."""
    text = TRACE.format(NON_SCALAR) + "\n" + TRACE.format("can't optimize a non-leaf Tensor")
    answer = explain(text)
    assert answer.code == "optimizer-non-leaf"
    assert answer.details["also"] == "non-scalar-backward"


def test_a_warning_before_an_unknown_error():
    """The warning is not taken for the error."""
    warning = "a.py:3: UserWarning: volatile was removed and now has no effect.\n"
    answer = explain(warning + TRACE.format("out of coffee"))
    assert (answer.code, answer.kind) == ("volatile-removed", "warning")
    assert "the error is not in the catalogue" in answer.because[0]
    assert not any("catalogue" in fact for fact in explain(warning).because)
    assert explain(warning + TRACE.format(NON_SCALAR)).code == "non-scalar-backward"


def test_a_pasted_message_says_how_to_recognise_it():
    """There is no program to look at, so the reader has to."""
    entry = load()["non-scalar-backward"]
    assert explain(NON_SCALAR).because[-1] == f"How to recognise it: {entry.signal}"
    assert not any("recognise" in fact for fact in explain(RuntimeError(NON_SCALAR)).because)


LONG = {
    "a traceback of 10,000 lines": TRACE.format(
        '\n'.join(f'  File "a{n}.py", line {n}, in f\n    g(x)' for n in range(5_000))
    ),
    "4 MB of one letter": "a" * 4_000_000,
    "4 MB in one line": "Error: [1, 2] 'x' (3x4 and " * 150_000,
    "empty lines": "\n" * 200_000,
    "quotes": '"' * 1_000_000,
    "spaces": " " * 1_000_000,
    "brackets": "[" * 1_000_000,
    "arrows": "-" * 1_000_000,
    "heads": "RuntimeError: " * 100_000,
    "frames": 'File "' * 200_000,
    "lines of dots": "...\n" * 50_000,
    "rank": "[rank" * 200_000,
}  # fmt: skip


@pytest.mark.parametrize("name", LONG)
def test_a_long_text_is_searched_without_going_back(name):
    """Each of these would take minutes if a pattern went back over what it has read."""
    text = LONG[name]
    assert explain(text).kind == "unknown"
    assert explain(RuntimeError(text)).kind == "unknown"
    assert explain(f"{text}\nRuntimeError: {NON_SCALAR}").code == "non-scalar-backward"


# ------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (None, r"got NoneType: to ask why x\.grad is None, give x itself"),
        (3, "got int$"),
        ([torch.ones(2)], "got list$"),
        (RuntimeError, "got type$"),
    ],
)
def test_other_types_are_refused(obj, message):
    """The message names what came."""
    with pytest.raises(TypeError, match=message):
        explain(obj)


def test_a_loss_that_is_no_tensor_is_refused():
    """A number has lost its graph."""
    with pytest.raises(TypeError, match=r"loss must be a tensor, got float: give it before \.item"):
        explain(torch.ones(2), loss=0.5)


@pytest.mark.parametrize(
    ("output", "hint"),
    [
        (collections.OrderedDict(loss=torch.ones(())), r"`output\['loss'\]`"),
        (types.SimpleNamespace(loss=torch.ones(())), r"`output\.loss`"),
        (types.SimpleNamespace(logits=torch.ones(2)), r"`output\.logits`"),
    ],
)
def test_the_output_of_a_model_has_its_loss_inside(output, hint):
    """The tensor that is meant is named."""
    with pytest.raises(TypeError, match=hint):
        explain(nn.Linear(1, 1), loss=output)
    if "loss" in hint:
        with pytest.raises(TypeError, match=hint):
            explain(output)


# ----------------------------------------------------------------------------- any input at all


def world():
    """What an explanation must leave as it is: torch's modes, and the state of its generator."""
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_anomaly_enabled(),
        torch.random.get_rng_state().tolist(),
    )


def looks(tensor):
    """What can be seen of a tensor from outside."""
    with torch._C.DisableTorchFunction():
        try:
            version = tensor._version
        except RuntimeError:  # made in inference mode
            version = None
        try:
            node = tensor.grad_fn
        except RuntimeError:  # a view that torch has given up
            return version, vars(tensor).copy()
        kept = tensor.is_leaf or tensor.retains_grad
        return (
            *(version, tensor.requires_grad, tensor.is_leaf, tensor.retains_grad),
            id(tensor.grad) if kept else None,
            None if node is None else (id(node), len(node.next_functions)),
            len(tensor._backward_hooks or ()),
            # A jagged tensor remembers its shape in the form in which it was asked for.
            sorted(name for name in vars(tensor) if not name.startswith("_sym_sizes_capsule")),
        )


class Refusing(torch.Tensor):
    """No operation on it works."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        """Refuse."""
        raise RuntimeError("no operation")


class Undispatched(torch.Tensor):
    """A wrapper without memory, for which no operation is there."""

    @staticmethod
    def __new__(cls):
        """Make it."""
        return torch.Tensor._make_wrapper_subclass(cls, (3,), requires_grad=True)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        """Refuse."""
        raise RuntimeError("no operation")


class Unreadable(torch.Tensor):
    """No attribute of it can be read."""

    def __getattribute__(self, name):
        """Refuse."""
        raise LookupError(name)


def quietly(make):
    """Some kinds of tensors are announced with a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


def hooked():
    """A leaf and a result with hooks that must not run."""

    def fail(*_):
        raise AssertionError("a hook has run")

    x = torch.ones(3, requires_grad=True)
    x.register_hook(fail)
    y = x * x
    y.register_hook(fail)
    y.grad_fn.register_prehook(fail)
    return y


def packed():
    """Its saved tensors are behind hooks that must not run."""

    def fail(_):
        raise AssertionError("unpacked")

    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor.shape, fail):
        return torch.ones(3, requires_grad=True).exp()


def freed():
    """Backward has run."""
    y = (torch.ones(3, requires_grad=True).exp() * 2).sum()
    y.backward()
    return y


def given_up():
    """A view that torch does not want to talk about any more."""
    base = torch.ones(3, requires_grad=True).clone()
    view = base.unbind()[0]
    base.mul_(2)
    return view


def under(mode, make):
    """Made inside a mode."""
    with mode:
        return make()


def ragged(**options):
    """Two rows of different lengths."""
    rows = [torch.ones(2), torch.ones(3)]
    return quietly(lambda: torch.nested.nested_tensor(rows, requires_grad=True, **options))


LEAF = {"requires_grad": True}
TENSORS = {
    "plain": lambda: torch.ones(3),
    "leaf": lambda: torch.ones(3, **LEAF),
    "number": lambda: torch.tensor(1.0, **LEAF),
    "empty": lambda: torch.empty(0, **LEAF),
    "complex": lambda: torch.ones(3, dtype=torch.complex64, **LEAF),
    "half": lambda: torch.ones(3, dtype=torch.bfloat16, **LEAF),
    "float8": lambda: torch.ones(3).to(torch.float8_e4m3fn),
    "integer": lambda: torch.arange(3),
    "bool": lambda: torch.ones(3) > 0,
    "result": lambda: torch.ones(3, **LEAF) * 2,
    "coo": lambda: torch.eye(3).to_sparse().requires_grad_(),
    "csr": lambda: quietly(lambda: torch.eye(3).to_sparse_csr().requires_grad_()),
    "mkldnn": lambda: torch.ones(3).to_mkldnn(),
    "quantized": lambda: quietly(
        lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    ),
    "nested": ragged,
    "jagged": lambda: ragged(layout=torch.jagged),
    "meta": lambda: torch.ones(3, device="meta", **LEAF),
    "inference": lambda: under(torch.inference_mode(), lambda: torch.ones(3)),
    "fake": lambda: under(FakeTensorMode(), lambda: torch.ones(3, **LEAF)),
    "refusing": lambda: torch.Tensor._make_subclass(Refusing, torch.ones(3), True),
    "undispatched": Undispatched,
    "parameter": lambda: nn.Parameter(torch.ones(3)),
    "lazy": nn.UninitializedParameter,
    "lazy buffer": nn.parameter.UninitializedBuffer,
    "hooked": hooked,
    "packed": packed,
    "freed": freed,
    "given up": given_up,
}


@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.parametrize("loss", [None, "leaf", "result", "freed", "meta", "jagged", "given up"])
def test_a_tensor_of_any_kind(kind, loss):
    """An answer, in a sensible kind, and everything is as it was."""
    tensor = TENSORS[kind]()
    against = TENSORS[loss]() if loss else None
    seen = [tensor, *([against] if loss else [])]
    before = world(), [looks(one) for one in seen]
    answer = explain(tensor, against)
    assert (answer.kind, answer.subject) == ("tensor", "tensor")
    assert answer.because
    assert (world(), [looks(one) for one in seen]) == before
    swapped = explain(against, tensor) if loss else explain(tensor, tensor)
    assert swapped.because


def test_a_tensor_that_cannot_be_read():
    """Not even its class is sure; as loss, too."""
    tensor = torch.Tensor._make_subclass(Unreadable, torch.ones(3), True)
    leaf = torch.ones(3, requires_grad=True)
    assert explain(tensor).code == explain(leaf, tensor).code == "not-readable"


def test_tensors_inside_of_transforms():
    """`vmap`, `grad`, `jvp` and `functionalize` give wrappers to the function."""
    outside = torch.ones(3, requires_grad=True)
    codes = set()

    def function(x):
        y = (x * x).sum()
        answers = [explain(x), explain(y), explain(x, y), explain(outside, (x * outside).sum())]
        codes.update(answer.code for answer in answers)
        return y

    inputs = torch.ones(2, 3)
    torch.func.grad(function)(inputs)
    torch.func.vmap(function)(inputs)
    torch.func.vmap(torch.func.grad(function))(inputs)
    torch.func.jvp(function, (inputs,), (inputs,))
    torch.func.functionalize(function)(inputs)
    torch.func.hessian(function)(inputs)
    assert codes >= {"no-backward-yet", "non-leaf", "requires-grad-false"}


def test_modes_around_the_call():
    """Whatever is switched on, it is on afterwards, and no operation ran inside."""

    class Counting(torch.overrides.TorchFunctionMode):
        calls = 0

        def __torch_function__(self, func, types, args=(), kwargs=None):
            """Count."""
            Counting.calls += 1
            return func(*args, **(kwargs or {}))

    x = torch.ones(3, requires_grad=True)
    loss = (x * 2).sum()
    with torch.no_grad(), torch.inference_mode(), Counting():
        explain(x, loss)
        assert Counting.calls == 0
        assert not torch.is_grad_enabled()
        assert torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()


def test_nothing_is_held_afterwards():
    """The tensors, the loss, the module and the error go when their last name goes."""

    class Thing:
        pass

    class OwnError(RuntimeError):
        pass

    def failing_step():
        y = torch.ones(3, requires_grad=True) * 2
        thing = Thing()
        tracked.extend(weakref.ref(one) for one in (y, thing))
        raise OwnError(NON_SCALAR)

    def program():
        x = torch.ones(3, requires_grad=True)
        loss = (x * x).sum()
        model = nn.Linear(3, 1)
        tracked.extend(weakref.ref(one) for one in (x, loss, model))
        answers.extend([explain(x), explain(x, loss), explain(model, loss), explain(loss)])
        try:
            failing_step()
        except OwnError as error:
            tracked.append(weakref.ref(error))
            answers.append(explain(error))

    tracked, answers = [], []
    gc.disable()  # no ring is left for it
    try:
        program()
        assert [reference() for reference in tracked] == [None] * 6
    finally:
        gc.enable()
    assert answers[-1].code == "non-scalar-backward"
    assert len(answers) == 5


@settings(deadline=None)
@given(st.one_of(st.text(), st.binary()))
def test_any_text_gets_an_answer(text):
    """Of any letters or bytes."""
    answer = explain(text)
    assert answer.because
    assert answer.kind in {"unknown", "error", "warning"}


PIECES = st.sampled_from(
    [
        *("Traceback (most recent call last):\n", '  File "a.py", line 3, in f\n', "\n", "\r\n"),
        *("RuntimeError: ", "[rank0]: ", "E   ", "\x1b[31m", "\x1b[0m", "    loss.backward()\n"),
        *("Cell In[3], line 1\n", "----> 1 x\n", "UserWarning: ", "&#39;", "\x00", "`", "<b>"),
        *(entry.examples[0] for entry in ENTRIES[:40] if entry.examples),
    ]
)


@settings(deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_any_pieces_of_tracebacks_get_an_answer(text):
    """In any order, and it can be shown in both forms."""
    answer = explain(text)
    assert answer.because
    assert answer.url in str(answer)
    assert answer.url in answer._repr_html_()


def odd_class(base, name, text):
    """An exception class of a program, with a text of its own."""
    return type(name, (base,), {"__str__": text})


def failing(_):
    """A `__str__` that raises."""
    raise ArithmeticError("no text")


CLASSES = [
    *(Exception, BaseException, RuntimeError, KeyError, OSError, UnicodeError, UserWarning),
    *(SyntaxError, StopIteration, SystemExit, KeyboardInterrupt, AssertionError),
    *(torch.OutOfMemoryError, torch.linalg.LinAlgError),
    odd_class(RuntimeError, "Silent", failing),
    odd_class(ValueError, "Talking", lambda _: NON_SCALAR),
    odd_class(ValueError, "Number", lambda _: 3),
]
ARGUMENTS = st.one_of(
    *(st.none(), st.integers(), st.text(max_size=50), st.binary(max_size=20), st.floats()),
    st.sampled_from([entry.examples[0] for entry in ENTRIES if entry.examples]),
    st.builds(object),
    st.builds(lambda: torch.ones(2, requires_grad=True)),
)


@st.composite
def errors(draw, depth=2):
    """Exceptions with any arguments, causes, contexts and notes, raised or not."""
    kind = draw(st.sampled_from(CLASSES))
    arguments = draw(st.lists(ARGUMENTS, max_size=3))
    try:
        error = kind(*arguments)
    except TypeError:  # some classes want arguments of their own
        error = ExceptionGroup("instead", [ValueError(*arguments)])
    if depth and draw(st.booleans()):
        error.__cause__ = draw(errors(depth - 1))
    if depth and draw(st.booleans()):
        error.__context__ = draw(errors(depth - 1))
    if depth and draw(st.integers(0, 4)) == 0:
        parts = [draw(errors(depth - 1)) for _ in range(draw(st.integers(1, 3)))]
        error = BaseExceptionGroup("group", [*parts, error])
    if draw(st.booleans()):
        with pytest.raises(BaseException):  # noqa: B017, PT011 -- the traceback is what is wanted
            raise error
    return error


@settings(deadline=None)
@given(errors())
def test_any_exception_gets_an_answer(error):
    """And is left as it was."""
    before = error.args, error.__cause__, error.__context__, error.__traceback__
    answer = explain(error)
    assert answer.because
    assert answer.kind in {"unknown", "error", "warning"}
    after = error.args, error.__cause__, error.__context__, error.__traceback__
    assert all(one is other for one, other in zip(before, after, strict=True))


# ------------------------------------------------------------------------- hints of a pasted text


def test_the_second_message_of_a_text_counts():
    """Torch's own warning above the error tells the cause."""
    text = (
        "a.py:9: UserWarning: None of the inputs have requires_grad=True. Gradients will be None\n"
        + TRACE.format("element 0 of tensors does not require grad and does not have a grad_fn")
    )
    answer = explain(text)
    assert answer.code == "no-graph"
    assert answer.details["cause"].startswith("A reentrant checkpoint")
    assert any("`checkpoint-inputs-no-grad`" in fact for fact in answer.because)
    assert answer.cure.splitlines()[0].startswith("`use_reentrant=False`")


@pytest.mark.parametrize(
    "operation", ["AsStridedBackward0", "TBackward", "TBackward0", "AsStrided"]
)
def test_the_shape_of_a_turned_weight_counts(operation):
    """Nearly always an optimizer stepped: that comes first of those that are left."""
    message = (
        "one of the variables needed for gradient computation has been modified by an inplace "
        f"operation: [torch.FloatTensor [16, 1]], which is output 0 of {operation}, is at version "
        "2; expected version 1 instead."
    )
    answer = explain(message)
    assert answer.possible[0].startswith("`optimizer.step()`")
    assert any("weight of a Linear" in fact for fact in answer.because)
    other = explain(message.replace(operation, "ReluBackward0"))
    assert not any("weight of a Linear" in fact for fact in other.because)


def test_a_pasted_message_tells_what_kind_of_tensor_was_changed():
    """A leaf and a buffer were made by no operation; then the causes of results come last."""
    words = (
        "RuntimeError: one of the variables needed for gradient computation has been modified by "
        "an inplace operation: [torch.FloatTensor [3, 2]]{} is at version 1; expected version 0 "
        "instead."
    )
    leaf = explain(words.format(""))
    assert "names no operation that made the tensor" in " ".join(leaf.because)
    assert leaf.possible[0].startswith("`optimizer.step()` between")
    first = [one.partition(":")[0] for one in leaf.possible[:4]]
    assert "The result that an operation saved" not in first
    result = explain(words.format(", which is output 0 of ExpBackward0,"))
    assert "names no operation" not in " ".join(result.because)
    assert result.possible[0].startswith("The result that an operation saved")
    row = explain(words.format(", which is output 0 of SelectBackward0,"))
    assert row.possible[0].startswith("A buffer filled row by row")


def test_a_pasted_derivative_without_graph_was_computed_unrecorded():
    """The line that failed is autograd.grad itself: what it was given has no graph."""
    text = (
        "Traceback (most recent call last):\n"
        '  File "pinn.py", line 9, in residual\n'
        "    u_t = torch.autograd.grad(u.sum(), t, create_graph=True)[0]\n"
        "RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn\n"
    )
    assert explain(text).possible[0].startswith("The forward pass ran under `no_grad`")
