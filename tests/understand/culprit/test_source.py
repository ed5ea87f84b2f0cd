"""Tests of `gradbook.understand.culprit.source`: what the text of a program says."""

import ast
import functools
import linecache
import types

import pytest
import torch

from gradbook import explain
from gradbook.understand.culprit import source
from gradbook.understand.culprit.case import quoted
from gradbook.understand.culprit.source import (
    bound,
    changed_names,
    dotted,
    loaded,
    operands,
    parse,
    read_in,
    scope_at,
    scope_of,
    unwrapped,
)


def lines_of(text):
    """Lines with their ends, as linecache has them."""
    return text.splitlines(keepends=True)


def scope(text, number, name="<module>", first=1):
    """The scope around a line of a text."""
    codes = [compile(text, "text", "exec")]
    for code in codes:
        codes += [inner for inner in code.co_consts if isinstance(inner, types.CodeType)]
    code = next(one for one in codes if (one.co_name, one.co_firstlineno) == (name, first))
    return scope_at(lines_of(text), number, code)


def one(text):
    """The first statement of a text."""
    return ast.parse(text).body[0]


@pytest.mark.parametrize("text", ["", "# nothing\n", "%matplotlib\nx = 1\n", "x = (\n", "a\0b"])
def test_what_is_no_program(text):
    """Empty, a magic, broken, binary."""
    assert parse(lines_of(text), 1) is None
    assert scope_at(lines_of(text), 1, compile("", "text", "exec")) is None


PAGE = """\
# A page, which is no Python

```{code-cell} python
:tags: [hide-input]
x = 1
y = x + 1
```

Prose.

```{code-cell} python
z = 3
```
"""


def test_a_block_of_a_page():
    """The numbers of its lines are those of the page; directives and options are left out."""
    assert ast.unparse(parse(lines_of(PAGE), 6)) == "x = 1\ny = x + 1"
    assert parse(lines_of(PAGE), 6).body[1].lineno == 6
    assert ast.unparse(parse(lines_of(PAGE), 12)) == "z = 3"
    assert parse(lines_of(PAGE), 9) is None
    assert parse(lines_of("no Python, no fence\n"), 1) is None


def decorated(function):
    """Wrap a function, as libraries do."""

    @functools.wraps(function)
    def inner(*arguments):
        return function(*arguments)

    return inner


@decorated
@torch.no_grad()
def target(x):
    """What is looked for."""
    return x


class Holder:
    """Three kinds of method."""

    @staticmethod
    def static():
        """Without self."""

    @classmethod
    def of_class(cls):
        """With the class."""

    def plain(self):
        """With self."""


def test_the_function_behind_a_wrapper():
    """Decorators, methods and partials lead to a function; other values do not."""
    assert unwrapped(target).__code__.co_name == "target"
    assert unwrapped(functools.partial(target, 1)).__code__.co_name == "target"
    assert unwrapped(vars(Holder)["static"]) is Holder.static
    assert unwrapped(vars(Holder)["of_class"]).__name__ == "of_class"
    assert unwrapped(Holder().plain).__name__ == "plain"
    assert unwrapped(len) is None
    assert unwrapped(Holder) is None
    endless = decorated(target)
    endless.__wrapped__ = endless
    assert unwrapped(endless) is None


def test_the_source_of_a_function():
    """With its decorators; code without a file has none."""
    found = scope_of(unwrapped(target))
    assert found.body.name == "target"
    assert ast.unparse(found.body.decorator_list[1]) == "torch.no_grad()"
    space = {}
    exec("def made(): pass", space)
    assert scope_of(space["made"]) is None


NESTED = """\
def outer(xs):
    def inner(y):
        return y + 1
    zs = [inner(x) for x in xs]
    return zs
top = outer([1])
"""


def test_the_scope_around_a_line():
    """A function is told by where it begins; a comprehension counts for the one around it."""
    assert scope(NESTED, 3, "inner", 2).body.name == "inner"
    assert scope(NESTED, 5, "outer", 1).body.name == "outer"
    assert scope(NESTED, 4, "<listcomp>", 4).body.name == "outer"
    assert isinstance(scope(NESTED, 6).body, ast.Module)
    assert [node.lineno for node in scope(NESTED, 5, "outer", 1).statements] == [2, 4, 5]


def test_a_line_without_a_statement():
    """A comment, or a line behind the end of a file that was changed."""
    found = scope("x = 1\n# more\n", 9)
    assert found.statement is None
    assert found.loops(None) == []
    assert found.expression((1, 1, 0, 1)) is None
    assert [node.lineno for node in found.definitions("x", 9)] == [1]


def test_an_expression_by_its_place():
    """Columns tell which part of a line failed."""
    found = scope("y = (a @ b) @ c\nf(x)\n", 1)
    assert ast.unparse(found.expression((1, 1, 5, 10))) == "a @ b"
    assert ast.unparse(found.expression((1, 1, 4, 15))) == "a @ b @ c"
    assert found.expression((1, 1, 0, 99)) is None
    assert found.expression(None) is None
    call = scope("f(x)\n", 1).expression((1, 1, 0, 4))
    assert isinstance(call, ast.Call)


LOOP = """\
def train(x, h):
    use(h)
    for part in x:
        loss = part * h
        h = cell(part, h)
        if part:
            y = 1
        else:
            y = 2
        try:
            z = 1
        except ValueError:
            z = 2
    return y, z, h
"""


def test_definitions():
    """Before the line; in a loop, behind it; not in another arm; all that perhaps ran."""
    found = scope(LOOP, 4, "train", 1)

    def numbers(name, line):
        return [node.lineno for node in found.definitions(name, line)]

    assert numbers("part", 4) == [3]
    assert numbers("h", 4) == [5]
    assert numbers("h", 2) == []
    assert numbers("loss", 5) == [4]
    assert numbers("y", 14) == [9, 7]
    assert numbers("z", 14) == [13, 11]
    assert numbers("y", 9) == [9]
    assert found.exclusive(found.stores("y")[0], found.stores("y")[1])
    assert not found.exclusive(found.stores("loss")[0], found.stores("y")[0])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("x = y = 1", {"x", "y"}),
        ("(a, [b, *c]), self.d = x", {"a", "b", "c", "self.d"}),
        ("x[0] = 1", set()),
        ("x: int = 1", {"x"}),
        ("x += 1", {"x"}),
        ("for i, row in rows:\n    z = 1", {"i", "row"}),
        ("with f() as a, g():\n    z = 1", {"a"}),
        ("print(x := 1)", {"x"}),
        ("f(x)", set()),
    ],
)
def test_what_a_statement_binds(text, names):
    """Itself, and not the statements inside it."""
    assert bound(one(text)) == names


def test_what_is_read():
    """Dotted names, in their order; what is bound is not read."""
    assert loaded(one("x = self.a.b(y, z[k])")) == ["self.a.b", "y", "z", "k"]
    assert read_in(one("x = self.a.b(y)")) == {"self", "self.a", "self.a.b", "y"}
    assert dotted(one("f().x").value) is None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("y += 1", ["y"]),
        ("y[0] += 1", ["y"]),
        ("self.y[0] = 1", ["self.y"]),
        ("y.relu_()", ["y"]),
        ("y.__init__()", []),
        ("F.relu(y, inplace=True)", ["y"]),
        ("F.relu(y, inplace=False)", []),
        ("nn.ReLU(inplace=True)(y)", ["y"]),
        ("f()[0] = 1", []),
        ("y = x + 1", []),
        ("torch.relu_(y)", ["y"]),
        ("nn.init.normal_(self.w)", ["self.w"]),
        ("x.add_(y)", ["x"]),
    ],
)
def test_what_a_statement_changes(text, names):
    """In place."""
    assert changed_names(one(text)) == names


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a @ b", ["a", "b"]),
        ("f(x, *rest, k=v)", ["x", "rest", "v"]),
        ("f([x, (y, z)], {'k': w})", ["x", "y", "z", "'k'", "w"]),
        ("a.b", ["a"]),
        ("a[0]", ["a"]),
        ("-a", ["a"]),
        ("a < b", ["a", "b"]),
    ],
)
def test_what_an_expression_works_on(text, parts):
    """Containers are opened, what is computed is left whole."""
    assert [ast.unparse(part) for part in operands(one(text).value)] == parts


def test_what_an_assignment_works_on():
    """The tensor into which it writes comes first."""
    assert [ast.unparse(part) for part in operands(one("w[0] = x"))] == ["w", "x"]
    assert [ast.unparse(part) for part in operands(one("w += x"))] == ["w", "x"]
    assert quoted(one("for x in y:\n    pass")) == "line 1, `for x in y:`"


CUT = """import torch


def program():
    logits = torch.ones(4, 2, requires_grad=True)
    chosen = logits.argmax(dim=1).float()
    loss = chosen.mean()
    loss.backward()
"""


@pytest.mark.parametrize("now", [None, "", "# a line more\n\n" + CUT, ")" + CUT, CUT[:90]])
def test_a_source_that_is_gone_or_another_gives_no_cause(tmp_path, now):
    """The cause was in the lines that cannot be read: none is named, and no line is quoted."""
    file = tmp_path / "program.py"
    file.write_text(CUT)
    names = {}
    exec(compile(CUT, str(file), "exec"), names)
    if now is None:
        file.unlink()
    else:
        file.write_text(now)
    linecache.clearcache()
    with pytest.raises(RuntimeError) as caught:
        names["program"]()
    found = explain(caught.value)
    assert found.code == "no-graph"
    assert "cause" not in found.details
    assert len(found.possible) > 1
    assert found.details["line"].endswith("program.py:8")


def test_asking_for_every_name_reads_each_statement_once(monkeypatch):
    """A notebook of many cells is one scope; a search through all for each name took seconds."""
    text = "".join(f"x{number} = {number}\n" for number in range(50))
    whole = scope(text, 1)
    read = []
    own = source.bound
    monkeypatch.setattr(source, "bound", lambda one: read.append(one) or own(one))
    found = [whole.stores(f"x{number}") for number in range(50)]
    assert [[one.lineno for one in ones] for ones in found] == [[line] for line in range(1, 51)]
    assert read == whole.statements
