"""Tests of reading/wording.py: it knows every sentence of gradbook's outputs."""

import pytest
import torch
from torch import nn

import pseudo
from gradbook import explain, fit, graph, record_lines, record_modules, replay
from reading import wording
from translated import read_html, untranslated

# Names of variables, files, inputs and functions; an entry, by its name.
NAMES = (
    "x b y out sum detach loss weight bias test_wording py self other mean cos no-graph"
    " float32"
    " Sequential Linear Model Tanh RNNCell first act cell weight_hh weight_ih bias_hh bias_ih"
)


def a_product():
    """Two leaves, one used twice, lines, a broadcast sum, a second pass into the same .grad."""
    x, b = torch.ones(2, 3, requires_grad=True), torch.ones(3, requires_grad=True)
    b.grad = torch.ones(3)
    with record_lines():
        y = x * x + b
        loss = (y / 2).mean()
    return replay(loss, params={"x": x, "b": b})


def a_network():
    """Matrices, constants and a module's names."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    loss = nn.functional.mse_loss(model(torch.ones(4, 2)), torch.zeros(4, 1))
    return replay(loss, params=model)


def a_long_pass():
    """Too many steps to play."""
    x = torch.ones(2, requires_grad=True)
    y = x
    for _ in range(200):
        y = y.sin()
    return replay(y.sum())


def hooks_and_constants():
    """A hook that changes a gradient; a program that cannot run with other numbers."""
    x = torch.ones(2, requires_grad=True)
    with record_lines():
        y = x * x.detach()
        out = (y * y).sum()
    y.register_hook(lambda gradient: gradient * 10)
    return replay(out, y.sum(), params={"x": x})


def two_outputs():
    """A graph with two ends, before and after it was freed."""
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    return graph(y.sum(), (y * y).mean())


def freed():
    """What was saved is gone."""
    x = torch.ones(3, requires_grad=True)
    y = x.exp().sum()
    y.backward()
    return graph(y)


def a_folded_graph():
    """Long runs, and the layers of a module."""
    model = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.Tanh()) for _ in range(60)))
    return graph(model(torch.ones(1, 2)), params=model)


def by_module():
    """Modules called once, several times and in a loop, and the gradients that came to them."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.act, self.cell = nn.Linear(2, 2), nn.Tanh(), nn.RNNCell(2, 2)

        def forward(self, x):
            h = x = self.act(self.first(self.act(self.first(x) * 2)))
            for _ in range(30):
                h = self.cell(x, h * 2)
            return h

    model = Model()
    with record_modules(model):
        loss = model(torch.ones(1, 2)).sum()
    return replay(loss, params=model)


def many_numbers():
    """Tensors of which only a summary is shown."""
    torch.manual_seed(0)
    model = nn.Linear(30, 30)
    return replay(model(torch.ones(30, 30)).exp().sum(), params=model)


def a_history():
    """Of a short training."""
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch = torch.ones(3, 2), torch.ones(3, 1)
    return fit(model, [batch], nn.functional.mse_loss, optimizer, epochs=2, progress=False)


def an_explanation():
    """Of a message."""
    return explain("element 0 of tensors does not require grad and does not have a grad_fn")


@pytest.mark.parametrize(
    "make",
    [
        *(
            a_product,
            a_network,
            a_long_pass,
            hooks_and_constants,
            two_outputs,
            freed,
            a_folded_graph,
        ),
        *(by_module, many_numbers),
        *(a_history, an_explanation),
    ],
)
def test_every_sentence_is_known(make):
    """Where this fails, gradbook says something that is not in the list, or says it otherwise."""
    shown = make()
    html = shown._repr_html_() if make is a_history else shown._repr_mimebundle_()["text/html"]
    page = read_html(wording.translate(html, pseudo.accent, pseudo.accent))
    assert page.said
    page.code.append(NAMES)
    assert untranslated(page) == []


def test_a_translation_may_change_the_order():
    """Values go where the translation wants them."""
    words = {"{part} goes into {part2}": "{part2} <- {part}"}
    html = "<desc>From inputs to outputs: x goes into Mul. Output: Mul.</desc>"
    found = wording.translate(html, lambda text: words.get(text, text), str)
    assert found == "<desc>From inputs to outputs: Mul <- x. Output: Mul.</desc>"


def test_what_is_not_known_stays():
    """Names, numbers, and HTML of others."""
    html = "<p>x.grad = 1 + 2 = 3</p><table><tr><td>0.5</td><td>a name</td></tr></table>"
    assert wording.translate(html, pseudo.accent, pseudo.accent) == html
