"""The text forms of a graph: a tree that stays readable, Mermaid and DOT that parse."""

import re
import subprocess
import sys
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradbook import graph, record_lines
from gradbook.see.display.folding import sketch_of

WEIRD = "a\"<b>&'\n#`\\]]) -->\u202e層👩\u200d🔬;%%|{}\x00"


def leaf(*shape):
    """A tensor of ones that requires grad."""
    return torch.ones(shape or (3,), requires_grad=True)


def seed():
    """The program of the pages: x + 2, y * y * 2, mean."""
    x = leaf()
    y = x + 2
    return graph((y * y * 2).mean(), params={"x": x})


def test_the_seed_program():
    """A chain is a column of true names, with shapes, saved tensors and constants."""
    assert seed().to_text() == (
        "5 nodes, 5 edges, 1 leaf, 20 bytes saved\n"
        "MeanBackward0  ()\n"
        "MulBackward0  (3,)  saved: other ()  + 1 constant\n"
        "MulBackward0  (3,)  saved: other (3,), self (3,)\n"
        "AddBackward0  (3,)  + 1 constant  (reached by 2 edges)\n"
        "AccumulateGrad  x  (3,)"
    )


def test_what_is_shared_stands_once_and_is_referred_to():
    """Of two outputs with a common part, each has its tree; the part has a mark."""
    x, w = leaf(), leaf()
    h = torch.tanh(w * x)
    recorded = graph((h * h).sum(), (h.exp() + x).mean(), params={"x": x, "w": w})
    assert recorded.to_text().splitlines()[1:] == [
        "SumBackward0  ()  output 1 of 2",
        "MulBackward0  (3,)  saved: other (3,), self (3,)",
        "→ *1 TanhBackward0  (reached by 2 edges)",
        "",
        "MeanBackward0  ()  output 2 of 2",
        "AddBackward0  (3,)",
        "├─ → *2 AccumulateGrad  x",
        "ExpBackward0  (3,)  saved: result (3,)",
        "*1 TanhBackward0  (3,)  saved: result (3,)",
        "MulBackward0  (3,)  saved: other (3,), self (3,)",
        "├─ AccumulateGrad  w  (3,)",
        "└─ *2 AccumulateGrad  x  (3,)",
    ]


def test_a_chain_is_not_indented():
    """149 operations are 149 lines in one column."""
    value = leaf()
    for _ in range(149):
        value = value * 2
    lines = graph(value).to_text().splitlines()
    assert len(lines) == 151
    assert not any(line.startswith((" ", "├", "└")) for line in lines)


def test_a_residual_chain_stays_flat():
    """With a branch at each step, only references are indented, and by one level."""
    value = leaf()
    for _ in range(70):
        value = value + torch.tanh(value)
    lines = graph(value).to_text().splitlines()[1:]
    assert sum(line.startswith("├─ → *") for line in lines) == 70
    assert max(len(line) - len(line.lstrip("├└│─ ")) for line in lines) == 3


def test_the_loss_of_each_step_of_a_loop_stays_flat():
    """Whichever of two long lines is the trunk, the other one is indented once."""
    weight, state, loss = leaf(), torch.ones(3), 0
    for _ in range(20):
        state = torch.tanh(weight * state)
        loss = loss + state.mean()
    lines = graph(loss).to_text().splitlines()[1:]
    assert max(len(line) - len(line.lstrip("├└│─ ")) for line in lines) <= 9


@st.composite
def sums_of_products(draw):
    """A graph in which anything may be used again."""
    values = [leaf() for _ in range(draw(st.integers(1, 3)))]
    for _ in range(draw(st.integers(1, 30))):
        one, other = (values[draw(st.integers(0, len(values) - 1))] for _ in range(2))
        values.append(one * other if draw(st.booleans()) else one + other)
    return graph(*values[-draw(st.integers(1, 2)) :]) if len(values) > 4 else graph(values[-1])


@settings(max_examples=80, deadline=None)
@given(sums_of_products())
def test_every_node_stands_once_and_every_edge_is_shown(recorded):
    """A line is a node or a reference; together they are the edges, and no line is deep."""
    lines = [line for line in recorded.to_text().splitlines()[1:] if line]
    texts = [line.lstrip("├└│─ ") for line in lines]
    full = [text for text in texts if not text.startswith("→")]
    names = [re.sub(r"^\*\d+ ", "", text).split("  ")[0] for text in full]
    assert Counter(names) == Counter(node.name for node in recorded.nodes)
    entered = {edge.dst for edge in recorded.edges}
    links = {(edge.src, edge.dst) for edge in recorded.edges}
    assert len(texts) - len(full) == len(links) - len(entered)
    marks = [mark for text in full for mark in re.findall(r"^\*(\d+) ", text)]
    assert sorted(map(int, marks)) == list(range(1, len(marks) + 1))
    assert {text.split()[1] for text in texts if text.startswith("→")} == {f"*{m}" for m in marks}
    depth = max(len(line) - len(text) for line, text in zip(lines, texts, strict=True)) / 3
    assert 2**depth <= 2 * len(recorded)
    several = [int(number) for number in re.findall(r"reached by (\d+) edges", "\n".join(lines))]
    assert sum(number - 1 for number in several) == len(recorded.edges) - len(links)


def test_the_state_of_saved_tensors_is_shown():
    """Edited, released and packed tensors say so; the size of a large one is named."""
    x = leaf()
    h = x * 2
    y = h * h
    h.add_(1)
    assert "saved: other (3,) edited (version 0, now 1), self" in graph(y).to_text()
    y = (x * x).exp().sum()
    y.backward()
    lines = graph(y).to_text().splitlines()
    assert lines[0].endswith("0 bytes saved, released")
    assert lines[2] == "ExpBackward0  (3,)  released: result"
    with torch.autograd.graph.saved_tensors_hooks(lambda _: 0, lambda _: None):
        assert "saved: result packed by a hook" in graph(x.exp()).to_text()
    assert "saved: result (600, 600) 1.4 MB" in graph(leaf(600, 600).exp()).to_text()


def test_names_and_source_lines_are_shown():
    """A named intermediate has its name, and a recorded line ends the line."""
    x = leaf()
    with record_lines():
        y = x.exp()
    text = graph((y * y).sum(), params={"y": y}).to_text()
    assert re.search(r"ExpBackward0  y  \(3,\)  saved: result .*edges\)  # .*y = x\.exp\(\)", text)


def test_a_fold_says_so():
    """The second line tells how much is folded."""
    value = leaf()
    for _ in range(200):
        value = value * 2
    assert graph(value).to_text() == (
        "201 nodes, 200 edges, 1 leaf, 1,600 bytes saved\n"
        "201 nodes, shown folded into 3\n"
        "MulBackward0  (3,)  saved: other ()  + 1 constant\n"
        "MulBackward0 × 199  (3,)  saved: 199 tensors  + 199 constants\n"
        "AccumulateGrad  leaf 1  (3,)"
    )


def test_an_output_given_several_times_is_one_line():
    """Positions are listed as long as they are few."""
    y = leaf().exp()
    assert "output 1, 2 of 2" in graph(y, y).to_text()
    assert "ExpBackward0  (3,)  saved: result (3,)  5 outputs" in graph(y, y, y, y, y).to_text()


def test_a_weird_name_stays_on_its_line():
    """Newlines, control codes and reversed text are escaped."""
    x = leaf()
    text = graph(x.exp(), params={WEIRD: x}).to_text()
    assert len(text.splitlines()) == 3
    assert "\\n" in text
    assert "\\u202e層👩\u200d🔬" in text
    assert "\x00" not in text


def test_mermaid_of_the_seed_program():
    """Inputs come first, and y * y is two arrows."""
    assert seed().to_mermaid() == (
        "flowchart TD\n"
        '    n4(["AccumulateGrad<br/>x (3,)"])\n'
        '    n3["AddBackward0<br/>(3,)<br/>#43; 1 constant"]\n'
        '    n2["MulBackward0<br/>(3,)<br/>saved: other (3,), self (3,)"]\n'
        '    n1["MulBackward0<br/>(3,)<br/>saved: other ()<br/>#43; 1 constant"]\n'
        '    n0[["MeanBackward0<br/>()<br/>output"]]\n'
        "    n4 --> n3\n    n3 --> n2\n    n3 --> n2\n    n2 --> n1\n    n1 --> n0"
    )


def test_a_box_names_the_first_saved_tensors_and_counts_the_others():
    """Three are enough to recognise an operation; a box with all of them would be long."""

    class Keep(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *tensors):
            ctx.save_for_backward(*tensors)
            return tensors[0].clone()

        @staticmethod
        def backward(ctx, grad):
            return grad, *(None for _ in ctx.needs_input_grad[1:])

    def box(count: int) -> str:
        g = graph(Keep.apply(*(torch.ones(2, requires_grad=True) for _ in range(count))))
        return g.to_dot()

    assert "more" not in box(3)
    assert "tensors[2] (2,), and 1 more" in box(4)
    assert "tensors[2] (2,), and 4 more" in box(7)


def test_dot_of_the_seed_program():
    """Inputs come first, and y * y is two arrows."""
    assert seed().to_dot() == (
        "digraph backward {\n"
        '    node [shape=box, fontname="monospace"];\n'
        '    n4 [label="AccumulateGrad\\nx (3,)", style=rounded];\n'
        '    n3 [label="AddBackward0\\n(3,)\\n+ 1 constant"];\n'
        '    n2 [label="MulBackward0\\n(3,)\\nsaved: other (3,), self (3,)"];\n'
        '    n1 [label="MulBackward0\\n(3,)\\nsaved: other ()\\n+ 1 constant"];\n'
        '    n0 [label="MeanBackward0\\n()\\noutput", peripheries=2];\n'
        "    n4 -> n3;\n    n3 -> n2;\n    n3 -> n2;\n    n2 -> n1;\n    n1 -> n0;\n}"
    )


SAFE = r'[^"\\<>&;{}\[\]`|#%\x00-\x1f-]|#\d+;'
MERMAID = re.compile(
    rf"""    n\d+(?:\(\["|\[\["|\[")(?:<br/>|{SAFE})+(?:"\]\)|"\]\]|"\])"""
    r"""|    n\d+ -->(?:\|"[\d,]+ edges"\|)? n\d+"""
)
STRING = r'"(?:[^"\\&\x00-\x1f]|\\.|&amp;)*"'
DOT = re.compile(
    rf"    n\d+ \[label={STRING}(?:, style=rounded)?(?:, peripheries=2)?\];"
    rf"|    n\d+ -> n\d+(?: \[label={STRING}\])?;|    label={STRING};"
)


def programs():
    """Graphs of several kinds: weird names, many parallel edges, folds."""
    x, y = leaf(), leaf()
    yield graph((x * y).sum(), params={WEIRD: x, "1. é": y})
    yield graph(torch.stack([x, x, x, x, x]).sum())
    value = x
    for _ in range(200):
        value = torch.tanh(value * y)
    yield graph(value, params={"x\n": x, "y": y})
    batch = torch.nn.functional.batch_norm(leaf(4, 2), None, None, leaf(2), leaf(2), training=True)
    yield graph(batch, batch.sum())


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_any_name_is_safe_in_every_form(name):
    """Names are whatever keys a mapping has; each form can be written as UTF-8, line by line."""
    x = leaf()
    recorded = graph(x.exp(), params={name: x})
    assert recorded.to_text().encode().count(b"\n") == len(recorded.to_text().splitlines()) - 1 == 2
    assert all(MERMAID.fullmatch(line) for line in recorded.to_mermaid().splitlines()[1:])
    assert all(DOT.fullmatch(line) for line in recorded.to_dot().splitlines()[2:-1])


@pytest.mark.parametrize("recorded", list(programs()), ids=repr)
def test_mermaid_and_dot_are_well_formed(recorded):
    """Each line is a node or an edge, strings are closed, and all items and links are there."""
    sketch = sketch_of(recorded)
    arrows = sum(link.arrows for link in sketch.links)
    for text, form, arrow in (
        (recorded.to_mermaid().partition("flowchart TD\n")[2], MERMAID, "-->"),
        ("\n".join(recorded.to_dot().splitlines()[2:-1]), DOT, "->"),
    ):
        lines = text.splitlines()
        assert [line for line in lines if not form.fullmatch(line)] == []
        edges = [line for line in lines if re.match(rf"    n\d+ {arrow}", line)]
        nodes = {line.split()[0].split("[")[0].split("(")[0] for line in lines} - {"label="}
        assert len(edges) == arrows
        assert len({node for node in nodes if node.startswith("n")}) == len(sketch.items)


def test_folds_say_so_in_mermaid_and_dot():
    """The note is the title of the one and the label of the other."""
    value, w = leaf(), leaf()
    for _ in range(100):
        value = torch.tanh(value * w)
    recorded = graph(value)
    note = sketch_of(recorded).note
    assert recorded.to_mermaid().startswith(f"---\ntitle: {note}\n---\nflowchart TD\n")
    assert f'    label="{note}";' in recorded.to_dot()
    assert "-->|" not in seed().to_mermaid()


@pytest.mark.parametrize(
    ("step", "length"),
    [("value * 2", 300_000), ("torch.tanh(value * weight) + value", 30_000)],
    ids=["chain", "residual"],
)
def test_a_very_long_graph_is_written_and_dropped(step, length):
    """300,000 nodes become a short text, and the interpreter lives on."""
    program = f"""
import torch
from gradbook import graph
weight = torch.ones(1, requires_grad=True)
value = torch.ones(1, requires_grad=True)
for _ in range({length}):
    value = {step}
recorded = graph(value)
assert len(recorded) > {length}
for text in (recorded.to_text(), recorded.to_svg(), recorded.to_mermaid(), recorded.to_dot()):
    assert 2 <= text.count("Backward0") < 2000, text.count("Backward0")
del value
print("lives")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "lives\n", "")
