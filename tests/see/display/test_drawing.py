"""A drawing is well-formed, complete, readable without colours and safe beside another one."""

import re
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gradbook import BackwardGraph, graph, record_lines
from gradbook.see.display import drawing
from gradbook.see.display.folding import sketch_of

SVG = "{http://www.w3.org/2000/svg}"
WEIRD = "a\"<b>&'\n#`\\]]> -->\u202e層👩\u200d🔬\ud800;{}\x00"


def leaf(*shape):
    """A tensor of ones that requires grad."""
    return torch.ones(shape or (3,), requires_grad=True)


def seed():
    """The program of the pages: x + 2, y * y * 2, mean."""
    x = leaf()
    y = x + 2
    return graph((y * y * 2).mean(), params={"x": x})


def network():
    """A network of two layers with cross entropy."""
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    loss = nn.functional.cross_entropy(net(torch.ones(5, 4)), torch.zeros(5, dtype=torch.long))
    return graph(loss, params=net)


def loop(steps):
    """A chain with a weight in each step."""
    value, weight = leaf(), leaf()
    for _ in range(steps):
        value = torch.tanh(value * weight)
    return graph(value, params={"weight": weight})


def wide():
    """Forty leaves and one operation."""
    return graph(torch.stack([leaf() for _ in range(40)]).sum())


def weird():
    """Names that are markup, control codes, wide letters, or very long."""
    one, other, third = leaf(), leaf(), leaf()
    return graph(one * other + third, params={WEIRD: one, "x" * 99: other, "層" * 50: third})


def several():
    """Two outputs, one of them inside the graph of the other, and five parallel edges."""
    x = leaf()
    y = torch.stack([x, x, x, x, x])
    with record_lines():
        z = y.exp()
    return graph(y, z, (y * z).sum())


def layer_norm():
    """An operation that saves five tensors."""
    return graph(nn.functional.layer_norm(leaf(4, 2), (2,), leaf(2), leaf(2)))


def edited():
    """A saved tensor that was changed."""
    other = torch.ones(3)
    y = leaf() * other
    other.add_(1)
    return graph(y)


GRAPHS = [
    edited,
    seed,
    network,
    lambda: loop(5),
    lambda: loop(200),
    wide,
    weird,
    several,
    layer_norm,
]


@pytest.fixture(params=GRAPHS, ids=lambda make: make.__name__)
def recorded(request):
    """Graphs of all kinds."""
    return request.param()


def parse(recorded, **options):
    """The drawing as XML."""
    return ElementTree.fromstring(recorded.to_svg(**options))


def texts(root, kind):
    """All text of one class."""
    return [one.text for one in root.iter(f"{SVG}text") if one.get("class") == f"gb-{kind}"]


def test_every_item_is_drawn_once(recorded):
    """Each box stands for one node (the first one of a fold)."""
    found = [int(one.get("data-node")) for one in parse(recorded).iter() if one.get("data-node")]
    assert found == [item.nodes[0] for item in sketch_of(recorded).items]


def test_every_edge_is_drawn_once(recorded):
    """Each arrow names its edge; those of a small graph are all there, parallel ones too."""
    paths = list(parse(recorded).iter(f"{SVG}path"))
    edges = [int(path.get("data-edge")) for path in paths]
    sketch = sketch_of(recorded)
    assert len(edges) == len(set(edges)) == sum(link.arrows for link in sketch.links)
    if sketch.note is None:
        for path, edge in zip(paths, edges, strict=True):
            one = recorded.edges[edge]
            found = [int(path.get(f"data-{name}")) for name in ("src", "dst", "input")]
            assert found == [one.src, one.dst, one.input_nr]


def test_no_text_leaves_its_box(recorded):
    """Every line, in the widest usual monospace font, fits its box, and every box the drawing."""
    root = parse(recorded)
    width, height = float(root.get("width")), float(root.get("height"))
    shift = re.fullmatch(r"translate\((\S+) (\S+)\)", root.find(f"{SVG}g").get("transform"))
    for node in (one for one in root.iter(f"{SVG}g") if one.get("data-node")):
        box = node.find(f"{SVG}rect")
        wide, high = float(box.get("width")), float(box.get("height"))
        place = re.fullmatch(r"translate\((\S+) (\S+)\)", node.get("transform"))
        x, y = (float(place[part]) + float(shift[part]) for part in (1, 2))
        assert 0 <= x <= x + wide <= width
        assert 0 <= y <= y + high <= height
        for text in node.iter(f"{SVG}text"):
            size = {"gb-name": 13, "gb-shape": 12, "gb-wrong": 12}.get(text.get("class"), 11)
            if text.text.isascii():
                assert len(text.text) * size * 0.6 <= wide - 16
            assert size < float(text.get("y")) < high - 3


def test_drawings_stand_beside_each_other(recorded):
    """Nothing in a drawing has an id, and its rules reach only drawings."""
    svg = recorded.to_svg()
    assert not re.search(r"\sid=|url\(#|href=", svg)
    style = re.sub(r"@(media|supports)\(.*?\)\{(?=\.)", "", drawing.STYLE)
    selectors = [one for rule in re.findall(r"([^{}]+)\{", style) for one in rule.split(",")]
    ours = ".gradbook-graph", ".gradbook-scroll", ".gradbook-player"
    assert all(one.strip().startswith(ours) for one in selectors)


def test_the_drawing_says_what_it_shows():
    """A screen reader gets a name and the graph in words, from the input to the output."""
    root = parse(seed())
    assert root.get("role") == "img"
    assert root.get("aria-label") == root.find(f"{SVG}title").text
    assert root.get("aria-label") == "Backward graph: 5 nodes, 5 edges, 1 leaf, 20 bytes saved"
    assert root.find(f"{SVG}desc").text == (
        "From inputs to outputs: x goes into AddBackward0; "
        "AddBackward0 goes into MulBackward0 (number 1) by 2 edges; "
        "MulBackward0 (number 1) goes into MulBackward0 (number 2); "
        "MulBackward0 (number 2) goes into MeanBackward0. Output: MeanBackward0."
    )


def test_the_words_about_a_large_drawing_end():
    """Sixty edges are read out, and how many there are more."""
    value = leaf()
    for _ in range(70):
        value = value * 2
    words = parse(graph(value)).find(f"{SVG}desc").text
    assert words.count("goes into") == 60
    assert "; and 10 more. Output: MulBackward0 (number 70)." in words


def test_a_node_without_edges_and_shape_is_drawn():
    """What nothing is known about but its name is a box with its name."""
    single = BackwardGraph(0, (0,), ["OddBackward"], [None], [])
    root = parse(single)
    assert [one.text for one in root.iter(f"{SVG}text")] == ["OddBackward", "output"]
    assert root.find(f"{SVG}desc").text == "Output: OddBackward."


@settings(max_examples=60, deadline=None)
@given(st.text(), st.text())
def test_any_name_gives_a_well_formed_drawing(first, second):
    """Names are whatever keys a mapping has."""
    x, h = leaf(), leaf().exp()
    root = parse(graph(h * x, params={first: x, second: h}))
    assert len([one for one in root.iter() if one.get("data-node")]) == 4


def test_kinds_can_be_told_without_colours():
    """Leaves are round, outputs say so, folds are named and have another class."""
    root = parse(loop(200))
    classes = {one.get("class") for one in root.iter(f"{SVG}g") if one.get("class")}
    assert classes == {"gb-node gb-leaf", "gb-node gb-fold", "gb-node gb-fold gb-root"}
    radius = {
        one.get("class"): float(one.find(f"{SVG}rect").get("rx"))
        for one in parse(seed()).iter(f"{SVG}g")
        if one.get("class")
    }
    assert radius["gb-node gb-leaf"] > radius["gb-node gb-op"]
    assert "output" in texts(root, "small")
    assert any(re.fullmatch(r"\d+ edges", text) for text in texts(root, "small gb-count"))


def test_a_fold_says_so():
    """The note stands on the drawing and comes first in its words."""
    root = parse(loop(200))
    assert root.find(f"{SVG}text").text == "402 nodes, shown folded into 60"
    assert root.find(f"{SVG}desc").text.startswith("402 nodes, shown folded into 60. From inputs")


def test_a_box_tells_name_shape_saved_tensors_constants_and_line():
    """The lines of a box are those of the text form, long ones cut, with all in the tooltip."""
    root = parse(several())
    node = next(one for one in root.iter(f"{SVG}g") if "ExpBackward0" in "".join(one.itertext()))
    node = next(one for one in node.iter(f"{SVG}g") if one.get("data-node") == "2")
    lines = [one.text for one in node.iter(f"{SVG}text")]
    assert lines[:4] == ["z = y.exp()", "(5, 3)", "ExpBackward0", "saved: result (5, 3)"]
    assert lines[4] == "output 2 of 3"
    assert "z = y.exp()" in node.find(f"{SVG}title").text
    lines = texts(parse(layer_norm()), "small")
    assert "and 1 more" in " ".join(lines)
    assert "+ 1 constant" in texts(parse(seed()), "small")


def test_an_edited_tensor_is_told_in_full_and_in_red():
    """The one that backward will refuse: its version when it was saved, and its version now."""
    root = parse(edited())
    assert texts(root, "wrong") == ["saved other (3,) at version 0", "edited since: now version 1"]
    assert "gb-node gb-op gb-root gb-edited" in {one.get("class") for one in root.iter()}
    assert not any("saved" in text for text in texts(root, "small"))


def test_long_names_are_broken_and_stand_whole_in_the_tooltip():
    """A name of 99 letters does not make the drawing wide."""
    root = parse(weird())
    shown = "".join(texts(root, "name"))
    assert "x" * 99 in shown
    assert all(drawing.columns(line) <= 48 for line in texts(root, "name"))
    assert any("x" * 99 in title.text for title in root.iter(f"{SVG}title"))


def test_no_two_leaves_share_a_label():
    """Names that differ in the middle are not cut there."""
    names = [f"base_model.model.h.{number}.lora_A.default.weight" for number in range(2)]
    w = {name: torch.ones(2, requires_grad=True) for name in names}
    root = parse(graph(w[names[0]] * w[names[1]], params=w))
    shown = "".join(texts(root, "name"))
    assert all(name in shown for name in names)


def test_a_dtype_that_most_do_not_have_is_told():
    """As in mixed precision; where all are the same it would say nothing."""
    x = leaf()
    out = (x.bfloat16() * 2).float().exp().sum()
    assert "(3,) bfloat16" in texts(parse(graph(out)), "shape")
    assert "(3,)" in texts(parse(graph(out)), "shape")
    assert not any("float" in text for text in texts(parse(graph(x.exp())), "shape"))


def test_a_tied_weight_bears_all_its_names():
    """As the output layer of a language model that is the embedding too."""
    model = nn.ModuleDict({"wte": nn.Embedding(3, 2), "head": nn.Linear(2, 3, bias=False)})
    model["head"].weight = model["wte"].weight
    recorded = graph(model["head"](model["wte"](torch.tensor([0]))), params=model)
    (leaf,) = recorded.leaves
    assert (leaf.tensor_name, leaf.other_names) == ("wte.weight", ("head.weight",))
    assert "wte.weight = head.weight" in " ".join(texts(parse(recorded), "name"))
    assert "wte.weight = head.weight" in recorded.to_text()


def test_released_tensors_are_shown():
    """After backward, a box says what it has lost."""
    y = (leaf() * leaf()).sum()
    y.backward()
    assert "released: other, self" in texts(parse(graph(y)), "small")


def test_a_wide_drawing_scrolls_and_a_narrow_one_shrinks():
    """What a phone cannot show at once is in a region that the keyboard can scroll."""
    assert drawing.to_html(seed(), sketch_of(seed())).startswith("<svg")
    html = drawing.to_html(wide(), sketch_of(wide()))
    assert html.startswith(
        '<div class="gradbook-scroll" tabindex="0" role="group" '
        'aria-label="Drawing of a graph with 42 nodes"><svg'
    )
    assert html.endswith("</svg></div>")


def test_the_style_can_be_left_out():
    """For a page that has it, the drawing comes without its rules."""
    bare = drawing.svg_of(seed(), sketch_of(seed()))
    assert "<style>" not in bare
    assert seed().to_svg() == bare.replace("</desc>", f"</desc><style>{drawing.STYLE}</style>")


def luminance(colour):
    """Relative luminance, after WCAG 2."""
    parts = [part / 255 for part in colour]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """Contrast ratio, after WCAG 2."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_our_colours_have_contrast(scheme):
    """Text is at least 4.5:1 on plain and tinted boxes, lines and borders at least 3:1."""
    light, dark = drawing.STYLE.split("@media(prefers-color-scheme:dark)")
    own = dict(re.findall(r"--gb-own-(\w+):(#\w+)", light if scheme == "light" else dark))
    own["root"] = re.search(r"--gb-root:(#\w+)", drawing.STYLE)[1]

    def rgb(name):
        digits = own[name][1:]
        digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
        return [int(digits[start : start + 2], 16) for start in (0, 2, 4)]

    opacity = float(
        re.search(r"\.gb-tint\{fill:var\(--gb-leaf\);fill-opacity:(\S+?)\}", light + dark)[1]
    )
    tinted = [
        opacity * tint + (1 - opacity) * paper
        for tint, paper in zip(rgb("leaf"), rgb("paper"), strict=True)
    ]
    for text in ("ink", "muted"):
        assert contrast(rgb(text), rgb("paper")) >= 4.5
        assert contrast(rgb(text), tinted) >= 4.5
    for line in ("line", "leaf", "root"):
        assert contrast(rgb(line), rgb("paper")) >= 3
