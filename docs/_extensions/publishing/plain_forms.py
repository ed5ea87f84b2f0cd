"""Say how code does without `gradbook`, where plain torch is enough.

`with expect_error(...)` is `try` and `except`, `seed_everything` is `torch.manual_seed`, `fit` is a
loop of five lines. A reader without the package finds that in a comment. Whether the plain form
runs is proved with the snippet (`proving`).
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import dedent, indent


@dataclass(frozen=True)
class Form:
    """A piece of code and its plain form.

    Attributes:
        name: of `gradbook`, for which it stands.
        first: line of the piece, from 1.
        last: line of the piece.
        text: the plain form, not indented.
        column: by how much the piece is indented.
    """

    name: str
    first: int
    last: int
    text: str
    column: int


def forms(source: str) -> list[Form]:
    """The pieces of some code that have a plain form, from top to bottom."""
    lines = source.split("\n")
    return sorted(_forms(ast.parse(source), lines), key=lambda form: form.first)


def _forms(tree: ast.AST, lines: list[str]) -> Iterator[Form]:
    for node in ast.walk(tree):
        match node:
            case ast.With(items=[ast.withitem(context_expr=ast.Call() as call)]):
                text = _caught(call, node, lines) if _name(call) == "expect_error" else ""
            case ast.Expr(value=ast.Call() as call) | ast.Assign(value=ast.Call() as call):
                text = _of_call(call)
            case _:
                continue
        if text:
            yield Form(_name(call), node.lineno, node.end_lineno or 0, text, node.col_offset)


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _caught(call: ast.Call, node: ast.With, lines: list[str]) -> str:
    """The plain form of a block that must fail, or warn."""
    if not call.args or node.body[0].lineno == node.lineno:
        return ""
    start = min([node.body[0].lineno, *_decorators(node.body[0])])
    body = dedent("\n".join(lines[start - 1 : node.end_lineno]))
    kind = ast.unparse(call.args[0])
    if kind.endswith("Warning"):
        return (
            "import warnings\n"
            "with warnings.catch_warnings(record=True) as found:\n"
            '    warnings.simplefilter("always")\n'
            f"{indent(body, '    ')}\n"
            'print(f"{found[0].category.__name__}: {found[0].message}")'
        )
    return (
        f"try:\n{indent(body, '    ')}\nexcept {kind} as error:\n"
        '    print(f"{type(error).__name__}: {error}")'
    )


def _decorators(node: ast.stmt) -> list[int]:
    return [one.lineno for one in getattr(node, "decorator_list", [])]


def _of_call(call: ast.Call) -> str:
    given = {word.arg: ast.unparse(word.value) for word in call.keywords if word.arg}
    if _name(call) == "seed_everything" and len(call.args) == 1 and not given:
        return f"torch.manual_seed({ast.unparse(call.args[0])})"
    if _name(call) != "fit" or "epochs" not in given:
        return ""
    given |= dict(
        zip(("model", "loader", "loss_fn", "optimizer"), map(ast.unparse, call.args), strict=False)
    )
    known = {"model", "loader", "loss_fn", "optimizer", "epochs", "progress"}
    if set(given) - known or not known - {"progress"} <= set(given):
        return ""
    return (
        f"for epoch in range({given['epochs']}):\n"
        f"    for inputs, targets in {given['loader']}:\n"
        f"        {given['optimizer']}.zero_grad()\n"
        f"        {given['loss_fn']}({given['model']}(inputs), targets).backward()\n"
        f"        {given['optimizer']}.step()"
    )


def to_plain(source: str) -> str:
    r"""Code with the plain forms in their places, and without the imports that they replace.

    >>> print(to_plain("import torch\nfrom gradbook import seed_everything\nseed_everything(0)"))
    import torch
    torch.manual_seed(0)
    """
    lines: list[str | None] = list(source.split("\n"))
    found = forms(source)
    inside = 0
    for form in found:
        if form.first <= inside:
            continue  # a part of one that is written already
        inside = form.last
        lines[form.first - 1 : form.last] = [
            indent(form.text, " " * form.column),
            *[None] * (form.last - form.first),
        ]
    text = "\n".join(line for line in lines if line is not None)
    names = {form.name for form in found}
    return _without_imports(text, names)


def _without_imports(source: str, names: set[str]) -> str:
    lines: list[str | None] = list(source.split("\n"))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "gradbook":
            left = [one for one in node.names if one.name not in names]
            text = ast.unparse(ast.ImportFrom("gradbook", left, 0)) if left else None
            end = node.end_lineno or node.lineno
            lines[node.lineno - 1 : end] = [text, *[None] * (end - node.lineno)]
    return "\n".join(line for line in lines if line is not None)


def needs_package(source: str) -> bool:
    """Whether code imports from `gradbook`."""
    return any(
        (isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "gradbook")
        or (
            isinstance(node, ast.Import)
            and any(one.name.partition(".")[0] == "gradbook" for one in node.names)
        )
        for node in ast.walk(ast.parse(source))
    )


def as_comment(source: str) -> str:
    """The plain forms of some code, as comments that stand before it; empty if there are none."""
    blocks = []
    for form in forms(source):
        if "\n" not in form.text:
            blocks.append(f"# Without gradbook, in place of `{form.name}`: {form.text}\n")
        else:
            text = indent(form.text, "# ", lambda _: True)
            blocks.append(f"# Without gradbook, in place of `{form.name}`:\n{text}\n")
    return "".join(dict.fromkeys(blocks))
