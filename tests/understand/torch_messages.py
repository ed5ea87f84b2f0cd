"""List what the installed torch can say of autograd, and hold the catalogue against it.

Two sources. The syntax trees of its Python files: every `raise`, warning and deprecation, with "…"
for what is filled in. And the texts in its C++ libraries: pieces of messages, since what is filled
in stands between them.

Each is *known* to the catalogue, or *excluded* by a rule of torch_messages.toml that gives its
reason, or *new*. A template is known if, filled in, a pattern of an entry finds it, or if an
example of an entry, or what a reproducer of an entry raises, fits it. A piece is known if a pattern
finds it, or if it is part of such an example or message.

    python tests/understand/torch_messages.py           prints all of them, each with its state
    python tests/understand/torch_messages.py --new     prints those that are new
    python tests/understand/torch_messages.py --write   writes the counts for the site
"""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import torch

from gradbook.understand.catalogue import load, match_message

GAP = "…"
FOLDER = Path(torch.__file__).parent
COUNTS = Path(__file__).parents[2] / "docs" / "_data" / "messages.json"
# Files and folders whose messages a person who computes gradients can meet.
PYTHON = (
    *("_tensor.py", "autograd", "utils/checkpoint.py", "utils/hooks.py", "func", "optim"),
    *("amp", "cpu/amp", "cuda/amp", "_library/autograd.py", "_library/custom_ops.py"),
    *("_functorch/apis.py", "_functorch/autograd_function.py", "_functorch/eager_transforms.py"),
    *("_functorch/functional_call.py", "_functorch/vmap.py", "_functorch/utils.py"),
    *("_functorch/batch_norm_replacement.py", "_functorch/deprecated.py"),
    *("_functorch/make_functional.py", "multiprocessing/reductions.py"),
    *("nn/modules/module.py", "nn/parameter.py", "nn/parallel", "nn/modules/lazy.py"),
    *("nn/utils/clip_grad.py", "nn/utils/parametrize.py", "nn/utils/stateless.py"),
)
LIBRARIES = ("libtorch_cpu.so", "libtorch_python.so")
# A text of a library is about gradients if it has one of these, and reads like a sentence.
_SUBJECT = re.compile(
    r"\b(?:gradients?|grad|grads|grad_fn|requires?_grad|require[sd]? grad|backward|autograd|leaf"
    r"|leaves|in-?place|inference tensors?|inference mode|inference_mode|differentia\w+"
    r"|derivatives?|double backward|jvp|vmap|forward[- ]mode|dual|saved tensors?|hooks?|version"
    r"|views? (?:of|and|is|was|were|created|has|have)|detach\w*)\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?:[A-Za-z][\w'`.()]*[,:;]? ){3,}[A-Za-z]")
_TALKS = re.compile(r"(?:\bwarn|\bwarning|\bwarn_once|\bdeprecated|\bDelayedError)$")
# What can stand in a gap; the same in all gaps of a template.
_FILLINGS = ("", "0", "x", "float", "'x'", "torch.float32", "jvp(f, primals, tangents)")


@dataclass(frozen=True, order=True)
class Message:
    """A template or a piece of a message, and the file that has it."""

    text: str
    place: str

    @property
    def is_piece(self) -> bool:
        """Whether it comes from a library, where only pieces of messages are found."""
        return self.place in LIBRARIES


@dataclass(frozen=True)
class Rule:
    """Messages that need no entry, and why."""

    reason: str
    patterns: tuple[re.Pattern[str], ...]
    place: re.Pattern[str]

    def covers(self, message: Message) -> bool:
        """Whether it is one of them."""
        return bool(self.place.search(message.place)) and any(
            pattern.search(message.text) for pattern in self.patterns
        )


# ------------------------------------------------------------------------- what torch can say


@cache
def from_python() -> tuple[Message, ...]:
    """What the Python files raise and warn."""
    found: set[Message] = set()
    for name in PYTHON:
        path = FOLDER / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            if not file.exists() or "test" in file.name:
                continue
            place = str(file.relative_to(FOLDER))
            found |= {Message(text, place) for text in said(file.read_text("utf-8"))}
    return tuple(sorted(found))


def said(source: str) -> Iterator[str]:
    """The templates of one Python file."""
    tree = ast.parse(source)
    # A text can be given a name first: `msg = "..."`, then `raise ValueError(msg)`.
    named: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AugAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    named.setdefault(target.id, []).append(node.value)
    for node in ast.walk(tree):
        spoken: list[ast.expr] = []
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            spoken = node.exc.args[:1]
        elif isinstance(node, ast.Call) and _TALKS.search(ast.unparse(node.func)):
            spoken = node.args[:1]
        elif isinstance(node, ast.Assert) and node.msg is not None:
            spoken = [node.msg]
        for expression in spoken:
            yield from _templates(expression, named)


def _templates(node: ast.expr, named: dict[str, list[ast.expr]]) -> Iterator[str]:
    """The words of an expression, on one line, with a gap for what is filled in."""
    options = named.get(node.id, []) if isinstance(node, ast.Name) else [node]
    for option in options:
        text = " ".join(_pieces(option).split())
        if _SENTENCE.search(text.replace(GAP, "x")):
            yield text


def _pieces(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
        return node.value if isinstance(node.value, str) else node.value.decode()
    if isinstance(node, ast.JoinedStr):
        return "".join(_pieces(one) for one in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _pieces(node.left) + _pieces(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return re.sub(r"%[sdr]", GAP, _pieces(node.left))
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "format"
    ):
        return re.sub(r"\{[^{}]*\}", GAP, _pieces(node.func.value))
    return GAP


@cache
def from_libraries() -> tuple[Message, ...]:
    """Sentences about gradients in the C++ libraries."""
    found: set[Message] = set()
    for name in LIBRARIES:
        data = (FOLDER / "lib" / name).read_bytes()
        for match in re.finditer(rb"[\x20-\x7e\n\t]{16,2000}", data):
            text = " ".join(match[0].decode("ascii").split())
            if _SUBJECT.search(text) and _SENTENCE.search(text):
                found.add(Message(text, name))
    return tuple(sorted(found))


# ---------------------------------------------------------------------- what the catalogue knows


@cache
def live() -> tuple[str, ...]:
    """What the reproducers of the catalogue raise and warn, where an entry recognises it.

    They run in a process of their own: process groups of other tests are not theirs.
    """
    ran = subprocess.run(
        [sys.executable, __file__, "--live"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        check=True,
        text=True,
        timeout=600,
    )
    return tuple(text for text in json.loads(ran.stdout) if match_message(text) is not None)


def raised() -> list[str]:
    """What the reproducers raise and warn, each on one line."""
    from reproducers import RAISING

    torch.set_warn_always(True)
    said_now: dict[str, None] = {}
    for program in RAISING.values():
        torch.manual_seed(0)
        with warnings.catch_warnings(record=True) as recorded:
            warnings.simplefilter("always")
            try:
                program()
            except Exception as error:  # any kind may come
                said_now[" ".join(str(error).split())] = None
        said_now |= {" ".join(str(one.message).split()): None for one in recorded}
    return list(said_now)


@cache
def wordings() -> tuple[str, ...]:
    """All messages that the catalogue has: its examples, and what its reproducers raise."""
    examples = (" ".join(text.split()) for entry in load().entries for text in entry.examples)
    return tuple(dict.fromkeys([*examples, *live()]))


def is_known(message: Message) -> bool:
    """Whether an entry of the catalogue recognises it; the rule stands at the top of the file."""
    if message.is_piece:
        text = message.text.replace("%s", "Tensor").replace("%u", "0").replace("%d", "0")
        return match_message(text) is not None or any(message.text in one for one in wordings())
    if any(match_message(message.text.replace(GAP, word)) for word in _FILLINGS):
        return True
    words = (re.escape(piece) for piece in message.text.split(GAP))
    fits = re.compile(".{0,400}?".join(words))
    return any(fits.fullmatch(one) for one in wordings())


@cache
def rules() -> tuple[Rule, ...]:
    """The exclusions."""
    data = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
    return tuple(
        Rule(
            reason=row["reason"],
            patterns=tuple(re.compile(pattern) for pattern in row["patterns"]),
            place=re.compile(row.get("place", "")),
        )
        for row in data["excluded"]
    )


@cache
def states() -> dict[Message, str]:
    """Each message with "known", "new", or the reason why it needs no entry."""
    found = {}
    for message in (*from_python(), *from_libraries()):
        rule = next((rule for rule in rules() if rule.covers(message)), None)
        found[message] = (
            "known" if is_known(message) else rule.reason if rule is not None else "new"
        )
    return found


def counts() -> dict[str, object]:
    """How many messages of the installed torch are known, excluded (by reason) and new."""
    kinds = Counter(
        state if state in ("known", "new") else "excluded" for state in states().values()
    )
    reasons = Counter(state for state in states().values() if state not in ("known", "new"))
    return {
        "torch": metadata.version("torch").split("+")[0],
        "found": len(states()),
        "python": len(from_python()),
        "libraries": len(from_libraries()),
        "known": kinds["known"],
        "excluded": kinds["excluded"],
        "new": kinds["new"],
        "reasons": dict(sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))),
    }


def as_json() -> str:
    """The counts as they are stored for the site."""
    return json.dumps(counts(), indent=2) + "\n"


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    if "--live" in sys.argv:
        print(json.dumps(raised()))
        sys.exit()
    for told, its_state in states().items():
        if "--new" not in sys.argv or its_state == "new":
            print(f"{its_state}\t{told.place}\t{told.text}")
    print(as_json(), file=sys.stderr)
    if "--write" in sys.argv:
        COUNTS.write_text(as_json(), "utf-8")
