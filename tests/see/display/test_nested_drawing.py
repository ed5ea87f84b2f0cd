"""Drawings by module: true boxes, nested as the modules are, few, and without circles."""

import re
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

from gradbook import graph, record_modules, replay
from gradbook.see.display.modules import sketch_of
from programs import Attention

SVG = "{http://www.w3.org/2000/svg}"


class Layer(nn.Module):
    """As in a transformer."""

    def __init__(self):
        super().__init__()
        self.attention, self.norm = Attention(4), nn.LayerNorm(4)
        self.up, self.act, self.down = nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)

    def forward(self, x):
        """Attention, then a network of two layers around which the input goes."""
        x = self.norm(self.attention(x))
        return x + self.down(self.act(self.up(x)))


class Transformer(nn.Module):
    """Some layers and a head."""

    def __init__(self, count):
        super().__init__()
        self.layers = nn.ModuleList([Layer() for _ in range(count)])
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        """One layer after the other."""
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class Reused(nn.Module):
    """Calls one activation twice, and one layer in a loop."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.relu = nn.Linear(4, 4), nn.Linear(4, 4), nn.ReLU()
        self.cell = nn.RNNCell(4, 4)

    def forward(self, x):
        """A residual block, then a recurrence."""
        x = x + self.relu(self.second(self.relu(self.first(x))))
        h = x
        for _ in range(30):
            h = self.cell(x, h * 2)
        return h


def recorded(model, shape=(2, 3, 4), params=None):
    """The graph of a model, run under `record_modules`."""
    x = torch.ones(*shape)
    with record_modules(model):
        loss = model(x).sum()
    return graph(loss, params=params or model)


def by_label(sketch):
    """The items and frames by what they are called."""
    found = {item.name or item.label: item for item in sketch.items}
    return found | {frame.label: frame for frame in sketch.frames}


def arrows(sketch):
    """Which box gets something from which."""
    items = sketch.items
    return {
        (items[link.dst].label, items[link.src].label)
        for link in sketch.links
        if "module" in (items[link.dst].kind, items[link.src].kind)
    }


def test_query_key_and_value_lie_side_by_side():
    """No arrow leads from one to another."""
    sketch = sketch_of(recorded(Transformer(1)), depth="layers.0.attention")
    parts = {f"layers.0.attention.{name}" for name in "qkv"}
    assert parts < set(by_label(sketch))
    assert not {(a, b) for a, b in arrows(sketch) if a in parts and b in parts}
    columns = {
        name: float(re.findall(r"[\d.]+", place)[0])
        for name, place in boxes_of(recorded(Transformer(1)), depth="layers.0.attention")
    }
    left, middle, right = sorted(columns[name] for name in parts)
    assert left + 100 < middle < right - 100


def boxes_of(found, **options):
    """Module and place of each box in the drawing."""
    root = ElementTree.fromstring(found.to_svg(**options))
    return [
        (one.get("data-module"), one.get("transform"))
        for one in root.iter(f"{SVG}g")
        if one.get("data-module") and "gb-node" in one.get("class")
    ]


@pytest.mark.parametrize("count", [1, 2, 12, 64, 200])
def test_a_model_of_any_depth_has_at_most_30_boxes(count):
    """Also one with more layers than that."""
    sketch = sketch_of(recorded(Transformer(count)))
    assert len(sketch.items) <= 30
    assert len({number for item in sketch.items for number in item.nodes}) == sum(
        len(item.nodes) for item in sketch.items
    )


def test_neighbours_stand_together_where_each_alone_would_be_too_many():
    """As layers of a deep model; the box opens, and so does each layer in it."""
    found = recorded(Transformer(64))
    sketch = sketch_of(found)
    stacks = [item for item in sketch.items if " … " in item.label]
    assert 10 < len(stacks) <= 30
    assert re.fullmatch(r"layers\.\d … layers\.\d", stacks[-1].label)
    html = found._repr_mimebundle_()["text/html"]
    opened = re.findall(r'<details data-module="([^"]*)"', html)
    assert {*(item.label for item in stacks), "layers.1"} < set(opened)
    # A page of all of them would be slow.
    assert "layers.63.attention.q" not in opened
    assert "more modules do not open here" in html


def test_what_uses_a_module_and_feeds_it_stands_on_both_sides():
    """Between the calls of a cell something runs."""
    inside = sketch_of(recorded(Reused(), (3, 4)), depth="cell")
    outer = [item.label for item in inside.items if item.kind == "outer"]
    assert {"to MulBackward0", "from MulBackward0", "to SumBackward0"} < set(outer)
    assert all(link.src < link.dst for link in inside.links)


@pytest.mark.parametrize("guess", [False, True])
@pytest.mark.parametrize("model", [Transformer(2), Transformer(40), Reused()])
def test_boxes_form_no_circle_and_hold_every_node_once(model, guess):
    """Each comes after all that point at it, at every depth."""
    shape = (3, 4) if isinstance(model, Reused) else (2, 3, 4)
    found = recorded(model, shape)
    if guess:
        found = graph(model(torch.ones(*shape)).sum(), params=model)
    for depth in (None, 0, 1, 2, 3, 9):
        sketch = sketch_of(found, True, depth)
        assert sorted(n for item in sketch.items for n in item.nodes) == [*range(len(found))]
        assert all(link.src < link.dst for link in sketch.links)


def test_depth_says_how_far_modules_are_opened():
    """0: the model; 1: its submodules; more: theirs; a name: its inside, with what is beside it."""
    found = recorded(Transformer(2))
    assert [item.label for item in sketch_of(found, depth=0).items] == [
        "SumBackward0",
        "Transformer",
    ]
    assert {"layers.0", "layers.1", "head"} < set(by_label(sketch_of(found, depth=1)))
    assert "layers.0.act" in by_label(sketch_of(found, depth=2))
    assert "layers.0.up.weight" in by_label(sketch_of(found, depth=9))
    inside = sketch_of(found, depth="layers.1")
    assert {"layers.1.attention", "layers.1.norm", "layers.1.act"} < set(by_label(inside))
    outer = [item.label for item in inside.items if item.kind == "outer"]
    assert sorted(outer) == ["from layers.0", "to head"]


def test_a_module_tells_class_shape_parameters_and_saved_bytes():
    """Of its output, of all inside of it, and without the memory of the parameters themselves."""
    found = by_label(sketch_of(recorded(Transformer(1)), depth=2))
    norm = found["layers.0.norm"]
    assert norm.details == ("LayerNorm (2, 3, 4)", "8 parameters")
    # The input, 24 numbers, and mean and deviation of each of 6 rows.
    assert norm.saved == ("144 bytes",)
    assert norm.module == "layers.0.norm"
    assert "layers.0.act" in found  # has no parameters


def test_calls_are_told_apart_where_they_are_few_and_put_together_where_they_are_many():
    """A circle of a cell and what runs between its calls is one box."""
    labels = set(by_label(sketch_of(recorded(Reused(), (3, 4)), depth=1)))
    assert {"relu, call 1", "relu, call 2", "first", "second"} < labels
    assert "cell, in a loop" in labels


def test_a_cell_that_ran_many_times_is_one_box():
    """With its weights, and how often it was called."""
    model = nn.ModuleDict({"cell": nn.LSTMCell(2, 3), "head": nn.Linear(3, 1)})
    h = c = torch.zeros(1, 3)
    with record_modules(model):
        for _ in range(200):
            h, c = model["cell"](torch.ones(1, 2), (h, c))
        loss = model["head"](h).sum()
    found = graph(loss, params=model)
    assert len(found) > 3000
    sketch = sketch_of(found)
    assert [item.name or item.label for item in sketch.items][2:] == [
        "3,000 nodes",
        "cell.weight_hh",
        "cell.bias_hh",
        "cell.weight_ih",
        "cell.bias_ih",
    ]
    assert sketch.frames[0].details[:3] == ("LSTMCell (1, 3)", "84 parameters", "200 calls")
    closed = by_label(sketch_of(found, depth=0))["cell"]
    assert len(closed.nodes) == 3004


def test_a_guess_says_so():
    """Each box, and the drawing; and operations without parameters stay beside the modules."""
    model = Transformer(2)
    sketch = sketch_of(graph(model(torch.ones(2, 3, 4)).sum(), params=model))
    assert sketch.note.endswith("; which module made what is guessed from the parameters")
    assert all(item.label.startswith("mostly ") for item in sketch.items if item.kind == "module")
    assert "guessed" not in sketch_of(recorded(model)).note


def test_small_graphs_and_unfolded_ones_are_drawn_as_before():
    """Up to 30 nodes, or where nothing shall be folded."""
    small = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    assert not sketch_of(recorded(small, (1, 2))).by_module
    large = recorded(Transformer(2))
    assert len(sketch_of(large, False).items) == len(large)
    assert sketch_of(recorded(small, (1, 2)), True).by_module


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"depth": "layers.7"}, ValueError, "names no module of this graph: 'layers.7'. It has"),
        ({"depth": -1}, ValueError, "depth must be at least 0, got -1"),
        ({"depth": 1.5}, TypeError, "must be a number or the name of a module, got 1.5"),
        ({"depth": 1, "fold": False}, ValueError, "fold=False folds nothing"),
        ({"fold": "no"}, TypeError, "fold must be True, False or None, got 'no'"),
    ],
)
def test_bad_input_is_named(options, error, message):
    """The error says what to give."""
    with pytest.raises(error, match=re.escape(message)):
        recorded(Transformer(2)).to_svg(**options)


def test_graph_and_replay_take_the_depth_at_which_they_are_shown():
    """What is asked for in a call comes first; a wrong one is refused before anything runs."""
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Linear(2, 1))
    x = torch.ones(1, 2)
    with record_modules(model):
        losses = [model(x).sum() for _ in range(3)]
    found = graph(losses[0], params=model, depth=1)
    assert "\n0  Sequential (1, 2)" in str(found)
    assert "inside of 0  Sequential (1, 2)  6 parameters" in found.to_text(depth="0")
    html = replay(losses[1], params=model, depth=1).to_html()
    assert set(norms(html)) == {"", "0", "1"}
    for depth, error in (("2", "names no module"), (-1, "at least 0")):
        with pytest.raises(ValueError, match=error):
            replay(losses[2], params=model, depth=depth)
    losses[2].backward()  # nothing has run


def test_depth_needs_modules():
    """A graph of plain tensors has none."""
    with pytest.raises(ValueError, match="depth needs modules: give params=model"):
        graph(torch.ones(1, requires_grad=True) * 2).to_text(depth=1)


def test_text_mermaid_and_dot_follow():
    """With subgraphs for opened modules, and one end for each."""
    found = recorded(Transformer(2))
    text = found.to_text(depth=1)
    size = sum(one.numel() for one in Layer().parameters())
    assert f"layers.1  Layer (2, 3, 4)  {size} parameters  saved: " in text
    mermaid = found.to_mermaid(depth=2)
    frames = len(sketch_of(found, depth=2).frames)
    assert mermaid.count("    subgraph ") == frames == mermaid.splitlines().count("    end")
    dot = found.to_dot(depth=2)
    assert dot.count("subgraph cluster") == frames
    assert dot.count("{") == dot.count("}")
    nodes = re.findall(r"^    (n\d+)[\[(]", mermaid, flags=re.MULTILINE)
    assert len(nodes) == len(set(nodes)) == len(sketch_of(found, depth=2).items)


def test_the_text_says_what_opened_modules_are_and_what_lies_in_them():
    """As the frames of the drawing do; the model itself is told once, and not on each line."""
    lines = recorded(Transformer(2)).to_text(depth=2).splitlines()
    frames = [line for line in lines if line.startswith("opened: ")]
    assert [line.split()[1] for line in frames] == ["Transformer", "layers.0", "layers.1", "head"]
    assert frames[2].startswith("opened: layers.1  Layer (2, 3, 4)  ")
    bare = [line for line in lines if "Backward0" in line]
    assert any(line.endswith("  in layers.0") for line in bare)
    assert any(line.endswith("  in layers.1") for line in bare)
    assert not any(line.endswith("  in") or "  in Transformer" in line for line in lines)
    assert not any("layers.0." in line and "  in layers.0" in line for line in lines)


def test_the_text_of_a_cell_in_a_loop_says_what_ran_and_how_often():
    """Class, size and calls stand in its text as in its drawing; a guess stays a guess."""
    model = nn.ModuleDict({"cell": nn.LSTMCell(2, 3), "head": nn.Linear(3, 1)})
    h = c = torch.zeros(1, 3)
    with record_modules(model):
        for _ in range(20):
            h, c = model["cell"](torch.ones(1, 2), (h, c))
        loss = model["head"](h).sum()
    text = graph(loss, params=model).to_text()
    assert "\nopened: cell  LSTMCell (1, 3)  84 parameters  20 calls  saved: " in text
    assert re.search(r"\n300 nodes  .*  in cell\n", text)
    h = c = torch.zeros(1, 3)
    for _ in range(20):
        h, c = model["cell"](torch.ones(1, 2), (h, c))
    assert "\nopened: mostly cell  LSTMCell  " in graph(h.sum(), params=model).to_text()


def test_every_box_lies_in_its_frame():
    """And no two boxes over each other."""
    found = recorded(Transformer(2))
    root = ElementTree.fromstring(found.to_svg(depth=2))

    def rectangle(one):
        x, y = map(float, re.findall(r"[\d.]+", one.get("transform", "translate(0 0)")))
        box = one.find(f"{SVG}rect")
        return x, y, x + float(box.get("width")), y + float(box.get("height"))

    boxes = [
        rectangle(one) for one in root.iter(f"{SVG}g") if "gb-node" in (one.get("class") or "")
    ]
    sides = ("x", "y", "width", "height")
    around = [
        [float(one.get(side)) for side in sides]
        for one in root.iter(f"{SVG}rect")
        if one.get("class") == "gb-around"
    ]
    frames = [(x, y, x + width, y + height) for x, y, width, height in around]
    assert len(frames) == 4
    for number, (left, top, right, bottom) in enumerate(boxes):
        for x, y, to_x, to_y in frames:
            apart = right <= x or left >= to_x or bottom <= y or top >= to_y
            inside = left >= x and right <= to_x and top >= y and bottom <= to_y
            assert apart or inside
        for x, y, to_x, to_y in boxes[:number]:
            assert right <= x or left >= to_x or bottom <= y or top >= to_y


def norms(html):
    """What the bars of the whole say, by module."""
    svg = html.split("<svg", 1)[1].split("</svg>", 1)[0]
    found = re.findall(r'data-module="([^"]*)".*?>grad ([^<]+)<', svg)
    return {name: float(norm) for name, norm in found}


def test_a_replay_shows_the_gradient_that_came_to_each_module():
    """The norm with respect to its output, as autograd.grad gives it."""
    torch.manual_seed(0)
    model = Transformer(2)
    kept = {}
    for name in ("layers.0", "layers.1", "head"):
        module = model.get_submodule(name)
        module.register_forward_hook(lambda _, __, out, name=name: kept.update({name: out}))
    with record_modules(model):
        loss = model(torch.randn(2, 3, 4)).tanh().sum()
    grads = torch.autograd.grad(loss, [*kept.values()], retain_graph=True)
    shown = norms(replay(loss, params=model).to_html())
    for name, grad in zip(kept, grads, strict=True):
        assert shown[name] == pytest.approx(grad.norm().item(), rel=1e-3)


def test_a_bar_shows_where_the_gradient_dies():
    """It is shorter by decades; nothing at all is an empty bar."""
    model = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Sigmoid()) for _ in range(12)))
    with record_modules(model):
        loss = model(torch.ones(1, 4)).sum()
    html = replay(loss, params=model).to_html()
    shown = norms(html)
    assert shown["0"] < 1e-4 * shown["11"]
    widths = [float(one) for one in re.findall(r'"gb-share"[^>]* width="([\d.]+)"', html)]
    assert min(widths) < 5
    assert max(widths) == 70
