"""What a cell needs of the cells before it, found from the code."""

from textwrap import dedent

import pytest

from reading.slicing import Page, Scope


def lines_before(*cells: str, scope: Scope = Scope.LEAN) -> list[str]:
    """The lines, without empty ones, that the last cell needs before itself."""
    page = Page([dedent(cell).strip("\n") for cell in cells])
    pieces = page.needs(len(cells) - 1, scope)
    return [line for piece in pieces for line in piece.text.splitlines() if line]


def test_only_the_names_that_are_read_come_along():
    """Of an import, too."""
    assert lines_before(
        "import math\nfrom torch import nn, ones, zeros",
        "x = ones(2)\nunused = zeros(2)\nprint(unused)",
        "print(x)",
    ) == ["from torch import ones", "x = ones(2)"]


def test_a_name_is_what_was_bound_last():
    """An earlier definition is not needed."""
    assert lines_before("x = 1", "x = 2", "x = 3\ny = x", "print(x)") == ["x = 3"]


def test_a_definition_in_a_branch_does_not_hide_the_one_before():
    """Either may be the one that counts."""
    cells = ["x = 1", "if flag():\n    x = 2", "print(x)"]
    assert lines_before(*cells) == ["x = 1", "if flag():", "    x = 2"]


def test_a_name_that_a_loop_carries_comes_from_before_the_loop():
    """It is read in the first round, before the loop binds it."""
    assert lines_before("y = 1", "for i in range(3):\n    z = y * i\n    y = z", "print(y)")[0] == (
        "y = 1"
    )


def test_an_update_in_place_needs_what_it_updates():
    """Also below a `with`, and as a later definition."""
    cells = ["import torch", "w = torch.ones(2)", "with torch.no_grad():\n    w -= 1", "print(w)"]
    assert lines_before(*cells) == [
        *("import torch", "w = torch.ones(2)", "with torch.no_grad():", "    w -= 1")
    ]


def test_names_inside_functions_are_their_own():
    """A parameter or a local is not the page's; a name of the page is, when it is called."""
    cells = [
        "x = 1",
        "scale = 2",
        "def f(x):\n    y = x\n    return y * scale",
        "y = 5",
        "print(f(3))",
    ]
    assert lines_before(*cells) == [
        *("scale = 2", "def f(x):", "    y = x", "    return y * scale")
    ]


def test_a_function_sees_the_names_as_they_are_when_it_is_called():
    """Not as they were when it was defined; and so do the functions that it calls."""
    cells = ["def f():\n    return g()", "def g():\n    return rate", "rate = 1", "rate = 2", "f()"]
    assert lines_before(*cells) == [
        *("def f():", "    return g()", "def g():", "    return rate", "rate = 2")
    ]


def test_a_function_that_is_not_called_does_not_need_its_names_to_be_right():
    """What its definition prints or asserts elsewhere stays behind."""
    assert lines_before("def f():\n    return x", "x = 1", "y = 2", "print(y)") == ["y = 2"]


@pytest.mark.parametrize(
    "change",
    [
        "x.add_(1)",
        "x[0] = 5",
        "x.grad.zero_()",
        "x.requires_grad = False",
        "torch.nn.init.zeros_(x)",
        "x.register_hook(print)",
        "handle = x.register_hook(print)",
        "for row in x:\n    row += 1",
        "setattr(x, 'name', 1)",
    ],
)
def test_what_changes_an_object_comes_along(change):
    """Between its definition and its use."""
    cells = ["import torch", "x = torch.ones(2)", change, "torch.sum(x).grad"]
    assert lines_before(*cells) == ["import torch", "x = torch.ones(2)", *change.splitlines()]


def test_reading_an_object_does_not_bring_it_along_changed():
    """Prints, assertions and results that nobody needs stay behind."""
    cells = ["x = [1]", "print(x)", "assert x == [1]", "y = x[0] + 1", "z = sum(x)", "print(x)"]
    assert lines_before(*cells) == ["x = [1]"]


def test_backward_reaches_what_the_loss_was_computed_from():
    """It matters to who looks at the gradient, and to nobody else."""
    cells = ["x = leaf()", "y = x * 2\nloss = y.sum()", "loss.backward()"]
    wanted = ["x = leaf()", "y = x * 2", "loss = y.sum()", "loss.backward()"]
    assert lines_before(*cells, "print(x.grad)") == wanted
    assert lines_before(*cells, "print(x + 1)") == ["x = leaf()"]
    assert lines_before(*cells, "print(x + 1)", scope=Scope.GRADIENTS) == wanted


def test_backward_reaches_what_a_function_of_the_page_reads():
    """The weights that it uses are not among its arguments."""
    cells = ["w = leaf()", "def loss(x):\n    return (w * x).sum()", "loss(3).backward()"]
    assert lines_before(*cells, "print(w.grad)")[-1] == "loss(3).backward()"


def test_what_is_needed_for_its_changes_alone_can_be_left_out():
    """With all that only it needs; a definition, a seed, a setting and a file cannot."""
    page = Page(
        [
            "import torch\ntorch.manual_seed(0)\ntorch.set_default_dtype(torch.float64)",
            "x = torch.rand(2)\ny = x * 2",
            "y.sum().backward()",
            "x.mul_(2)",
            "print(x.grad)",
        ]
    )
    changes = page.changes(4, Scope.LEAN)
    assert [page.statements[one].cell for one in changes] == [2, 3]
    shorter = [piece.text for piece in page.needs(4, Scope.LEAN, changes[:1])]
    assert shorter[-2:] == ["x = torch.rand(2)", "x.mul_(2)"]
    assert page.changes(4, Scope.ALL) == ()


def test_a_cell_mentions_what_it_binds_and_reads():
    """In its functions too; what these call has names of its own."""
    page = Page(["a = b = c = 1", "def f():\n    return a", "def g():\n    return f() + b\nd = c"])
    assert page.mentioned(2) == {"g", "f", "b", "c", "d"}


def test_gradients_that_were_cleared_are_forgotten():
    """What wrote them before does not matter."""
    cells = ["x = leaf()", "x.sum().backward()", "x.grad = None", "(x * 2).sum().backward()"]
    assert lines_before(*cells, "print(x.grad)") == ["x = leaf()", "x.grad = None", cells[3]]


def test_a_step_changes_the_parameters_behind_the_optimizer():
    """And it needs the gradients."""
    cells = [
        "model = make()",
        "optimizer = SGD(model.parameters())",
        "loss = model(3).sum()",
        "loss.backward()",
        "optimizer.step()",
        "print(model.weight)",
    ]
    assert lines_before(*cells) == cells[:-1]


def test_a_function_of_the_page_changes_what_it_is_given():
    """Its own code is looked into: the argument in that place, not the others."""
    cells = [
        "a, b = [1], [2]",
        "c = [3]",
        "def fill(target, value):\n    inner = target\n    inner.append(value)",
        "fill(a, c)",
    ]
    assert "fill(a, c)" in lines_before(*cells, "print(a)")
    assert "fill(a, c)" not in lines_before(*cells, "print(c)")


def test_a_function_of_the_page_changes_what_it_reads():
    """Wherever it is named: it may be called there."""
    cells = ["log = []", "def note(x):\n    log.append(x)", "each(note, [1, 2])", "print(log)"]
    assert lines_before(*cells)[-1] == "each(note, [1, 2])"


def test_a_method_changes_its_object():
    """Of a class of the page, when one of its methods writes to the object."""
    counts = "class Counter:\n    def __call__(self):\n        self.seen += 1"
    cells = [counts, "counter = Counter()", "n = counter()", "print(counter.seen)"]
    assert lines_before(*cells)[-2:] == ["counter = Counter()", "n = counter()"]


def test_random_numbers_depend_on_the_seed_and_on_draws_since():
    """The lean answer has the seed alone; a seed hides what was drawn before it."""
    cells = ["from torch import *", "manual_seed(0)", "a = randn(2)", "manual_seed(1)"]
    cells = ["import torch", *(f"torch.{one}" for one in cells[1:2]), "a = torch.randn(2)"]
    cells += ["torch.manual_seed(1)", "b = torch.randn(2)", "c = torch.nn.Linear(2, 1)"]
    assert lines_before(*cells) == ["import torch", "torch.manual_seed(1)"]
    assert lines_before(*cells, scope=Scope.DRAWS) == [
        *("import torch", "torch.manual_seed(1)", "b = torch.randn(2)")
    ]


def test_a_generator_of_its_own_is_no_seed():
    """It does not touch the one that all others use."""
    cells = ["import torch", "torch.manual_seed(0)", "g = torch.Generator().manual_seed(1)"]
    assert "torch.manual_seed(0)" in lines_before(*cells, "torch.randn(2)")


def test_a_function_that_draws_is_a_draw():
    """So is a layer, whose weights are drawn."""
    make = "def make():\n    return nn.Linear(2, 1)"
    cells = ["import torch\nfrom torch import nn", "torch.manual_seed(0)", make, "model = make()"]
    assert "torch.manual_seed(0)" in lines_before(*cells)


def test_a_block_that_must_fail_is_left_out():
    """Its changes were refused, as a rule; what it caught is there, though."""
    fails = "with expect_error(RuntimeError) as caught:\n    w -= 1\n    y = 3"
    cells = ["from gradbook import expect_error", "w = leaf()", fails]
    assert lines_before(*cells, "print(w)") == ["w = leaf()"]
    assert lines_before(*cells, "print(y)")[-3:] == fails.splitlines()
    assert lines_before(*cells, "print(caught)")[-3:] == fails.splitlines()


def test_settings_hold_for_everything_after_them():
    """A default or a filter for warnings names nothing that a cell reads."""
    cells = ["import torch", "torch.set_default_dtype(torch.float64)", "print(torch.ones(1))"]
    assert lines_before(*cells) == cells[:2]


def test_settings_that_a_block_puts_back_hold_for_nothing_after_it():
    """What was ignored inside is heard again; a filter without a block stays."""
    block = "with warnings.catch_warnings():\n    warnings.simplefilter('ignore')\n    f()"
    assert lines_before("import warnings", block, "print(3)") == []
    alone = ["import warnings", "warnings.simplefilter('ignore')", "print(3)"]
    assert lines_before(*alone) == alone[:2]


def test_who_reads_a_file_needs_who_wrote_it():
    """No name leads from one to the other."""
    cells = ["import torch", "torch.save(3, 'x.pt')", "print(torch.load('x.pt'))"]
    assert lines_before(*cells) == cells[:2]


def test_objects_may_share_their_memory():
    """What was computed from a changed object changed with it, in the generous answer."""
    cells = ["x = leaf()", "v = x.view(2)", "x.add_(1)", "print(v)"]
    assert lines_before(*cells) == ["x = leaf()", "v = x.view(2)"]
    assert lines_before(*cells, scope=Scope.ALIASES) == cells[:3]


def test_whole_cells_and_all_cells_are_the_last_answers():
    """The page as it stands, when nothing less is enough."""
    cells = ["a = 1\nprint('one')", "b = 2", "print(a)"]
    assert lines_before(*cells, scope=Scope.CELLS) == cells[0].splitlines()
    assert lines_before(*cells, scope=Scope.ALL) == [*cells[0].splitlines(), cells[1]]


def test_two_statements_in_a_line_are_one_piece():
    """The line is copied once."""
    assert lines_before("a = 1; b = 2", "print(a, b)") == ["a = 1; b = 2"]


def test_a_submodule_needs_its_import():
    """`import torch.func` adds to the module that `import torch` names."""
    cells = ["import torch.func", "import torch", "print(torch.func.vmap)"]
    assert lines_before(*cells) == cells[:2]


def test_pieces_are_parted_as_code_is():
    """Two empty lines around a function, none between imports or lines that were neighbours."""
    page = Page(
        ["import math\nimport cmath", "def f():\n    return math.pi", "a = f()\nb = a", "b"]
    )
    assert page.snippet(3, Scope.LEAN) == (
        "import math\n\n\ndef f():\n    return math.pi\n\n\na = f()\nb = a\n\nb"
    )


def test_a_cell_that_is_not_python_is_refused():
    """There is no slice of it."""
    with pytest.raises(SyntaxError):
        Page(["x = 1", "%magic"])
