"""Models of the transformers library, small and with random weights: nothing is downloaded."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # it would look for newer files

from collections import Counter

import pytest
import torch
import transformers
from torch import nn

from gradbook import graph, record_modules, replay
from gradbook.see.display.modules import sketch_of

transformers.logging.set_verbosity_error()
WORDS = torch.arange(24).view(2, 12) % 50
LABELS = torch.tensor([0, 1])


def resnet():
    """As deep as a ResNet-18."""
    config = transformers.ResNetConfig(
        depths=[2, 2, 2, 2], hidden_sizes=[8, 16, 32, 64], embedding_size=8, layer_type="basic"
    )
    inputs = {"pixel_values": torch.randn(2, 3, 64, 64), "labels": LABELS}
    return transformers.ResNetForImageClassification(config), inputs


def vit():
    """Four layers on 16 patches."""
    config = transformers.ViTConfig(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
    )
    inputs = {"pixel_values": torch.randn(2, 3, 32, 32), "labels": LABELS}
    return transformers.ViTForImageClassification(config), inputs


def bert():
    """Two layers."""
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
    )
    inputs = {"input_ids": WORDS, "labels": LABELS}
    return transformers.BertForSequenceClassification(config), inputs


def gpt2():
    """Four layers; the output layer has the weight of the embedding."""
    config = transformers.GPT2Config(
        vocab_size=50, n_embd=32, n_layer=4, n_head=4, bos_token_id=0, eos_token_id=0
    )
    return transformers.GPT2LMHeadModel(config), {"input_ids": WORDS, "labels": WORDS}


def llama():
    """Four layers, with fewer heads for key and value."""
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
    )
    return transformers.LlamaForCausalLM(config), {"input_ids": WORDS, "labels": WORDS}


@pytest.fixture(params=[resnet, vit, bert, gpt2, llama], ids=lambda make: make.__name__)
def model(request):
    """A model and its inputs."""
    torch.manual_seed(0)
    return request.param()


def loss_of(model, inputs):
    """Always with the same random numbers."""
    torch.manual_seed(1)
    return model(**inputs).loss


def naive(outputs, ends):
    """The nodes between what a module returned and what it was given."""
    seen, stack = set(), [one.grad_fn for one in outputs]
    while stack:
        node = stack.pop()
        if node is None or node in seen or node in ends or hasattr(node, "variable"):
            continue
        seen.add(node)
        stack += [child for child, _ in node.next_functions]
    return seen


def test_a_box_has_what_the_forward_of_its_module_made(model):
    """For each module without submodules: the nodes from its output to its inputs, no others."""
    net, inputs = model
    made = Counter()

    def note(name):
        def hook(_module, given, output):
            given = [one for one in given if isinstance(one, torch.Tensor)]
            ends = {one.grad_fn for one in given}
            outputs = [output] if isinstance(output, torch.Tensor) else [*output]
            made[name] += len(naive([one for one in outputs if one is not None], ends))

        return hook

    for name, module in net.named_modules():
        if not list(module.children()):
            module.register_forward_hook(note(name))
    with record_modules(net):
        loss = loss_of(net, inputs)
    found = Counter(node.module for node in graph(loss, params=net).nodes if not node.is_leaf)
    assert made.total() > 30
    assert {name: found[name] for name in made} == dict(made)


@pytest.mark.parametrize("guess", [False, True])
def test_it_opens_in_at_most_30_boxes_that_hold_every_node_once(model, guess):
    """Nested as its modules are, and as wide as a page."""
    net, inputs = model
    if guess:
        loss = loss_of(net, inputs)
    else:
        with record_modules(net):
            loss = loss_of(net, inputs)
    found = graph(loss, params=net)
    sketch = sketch_of(found)
    assert 10 <= len(sketch.items) <= 30
    assert sorted(n for item in sketch.items for n in item.nodes) == [*range(len(found))]
    assert all(link.src < link.dst for link in sketch.links)
    names = {name for name, _ in net.named_modules()}
    assert {frame.module for frame in sketch.frames} <= names
    width = int(found.to_svg().split(' width="', 1)[1].split('"', 1)[0])
    assert width <= 1000


@pytest.mark.parametrize(
    ("make", "attention", "names"),
    [
        (bert, "bert.encoder.layer.0.attention.self", ("query", "key", "value")),
        (llama, "model.layers.0.self_attn", ("q_proj", "k_proj", "v_proj")),
    ],
)
def test_query_key_and_value_lie_side_by_side(make, attention, names):
    """None is computed from another."""
    net, inputs = make()
    with record_modules(net):
        loss = loss_of(net, inputs)
    sketch = sketch_of(graph(loss, params=net), depth=attention)
    wanted = {f"{attention}.{name}" for name in names}
    numbers = {n for n, item in enumerate(sketch.items) if item.label in wanted}
    assert len(numbers) == 3
    below = {number: set() for number in range(len(sketch.items))}
    for link in reversed(sketch.links):
        below[link.src] |= {link.dst} | below[link.dst]
    assert not any(below[number] & numbers for number in numbers)


def test_replay_leaves_the_gradients_of_backward_and_a_bar_for_each_module(model):
    """Recorded or not, the numbers are the same, bit for bit."""
    net, inputs = model
    loss_of(net, inputs).backward()
    wanted = {name: one.grad for name, one in net.named_parameters()}
    net.zero_grad()
    with record_modules(net):
        loss = loss_of(net, inputs)
    passed = replay(loss, params=net)
    for name, one in net.named_parameters():
        assert (one.grad is None) == (wanted[name] is None)
        assert one.grad is None or torch.equal(one.grad, wanted[name])
    whole = passed.to_html().split("</svg>", 1)[0]
    boxes = [item for item in sketch_of(passed.graph).items if item.kind == "module"]
    assert whole.count('class="gb-share"') >= len(boxes)


def test_no_two_leaves_share_a_label(model):
    """In a drawing of all nodes, each name stands whole."""
    net, inputs = model
    svg = graph(loss_of(net, inputs), params=net).to_svg(fold=False)
    boxes = [box for box in svg.split("<g class=") if box.startswith('"gb-node gb-leaf')]
    labels = [
        "".join(part.split("</text>")[0].split(">", 1)[1] for part in box.split('"gb-name"')[1:])
        for box in boxes
    ]
    assert len(labels) > 30
    assert len(set(labels)) == len(labels)


def test_a_tied_weight_bears_both_names():
    """That of the embedding, and that of the output layer."""
    net, inputs = gpt2()
    found = graph(loss_of(net, inputs), params=net)
    tied = [leaf for leaf in found.leaves if leaf.other_names]
    assert [(one.tensor_name, one.other_names) for one in tied] == [
        ("transformer.wte.weight", ("lm_head.weight",))
    ]
    assert "transformer.wte.weight = lm_head.weight" in found.to_text(fold=False)


def test_a_cell_that_runs_200_times_stays_one_box():
    """With its four weights, its head and the sum: seven boxes for 3,010 nodes."""
    cell, head = nn.LSTMCell(8, 16), nn.Linear(16, 1)
    net = nn.ModuleDict({"cell": cell, "head": head})
    h = c = torch.zeros(4, 16)
    with record_modules(net):
        for x in torch.randn(200, 4, 8):
            h, c = cell(x, (h, c))
        loss = head(h).sum()
    assert len(sketch_of(graph(loss, params=net)).items) == 7
