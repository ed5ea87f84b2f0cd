"""Nested tensors go through everything that shows and explains, in both layouts."""

import json

import pytest
import torch
from torch import Tensor

from gradbook import explain, graph, replay, saved_memory

LAYOUTS = [torch.strided, torch.jagged]
# Torch says at the first one that they are a prototype.
pytestmark = pytest.mark.filterwarnings("ignore:.*nested.*:UserWarning")


def nested(layout: torch.layout) -> tuple[Tensor, Tensor]:
    """A leaf of two rows, and a nested result that was computed from it."""
    x = torch.ones(2, 3, requires_grad=True)
    parts = [x, torch.zeros(4, 3)]
    return x, torch.sin(torch.nested.as_nested_tensor(parts, layout=layout))


def total(y: Tensor) -> Tensor:
    """The sum of all elements."""
    return (y.values() if y.layout is torch.jagged else y.to_padded_tensor(0.0)).sum()


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_graph_has_no_shape_where_there_is_none(layout):
    """In text, drawing and JSON."""
    x, y = nested(layout)
    g = graph(total(y), params={"x": x})
    (sine,) = (node for node in g.nodes if node.name == "SinBackward0")
    assert sine.shape is None
    assert sine.saved["self"].shape is None
    assert sine.saved["self"].dtype == "float32"
    assert "SinBackward0" in g.to_text()
    assert "<svg" in g.to_svg()
    assert json.loads(json.dumps(g.to_dict()))["nodes"][sine.id]["shape"] is None
    assert g.leaves[-1].shape == (2, 3)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_pass_is_replayed_and_the_gradient_is_right(layout):
    """What has no shape has a norm, and its smallest and largest number."""
    x, y = nested(layout)
    played = replay(total(y), params={"x": x})
    assert torch.allclose(x.grad, torch.ones(2, 3).cos())
    (sine,) = (step for step in played.steps if step.node.name == "SinBackward0")
    assert sine.incoming[0].shape is None
    assert str(sine.incoming[0]).startswith("float32 without a shape, norm ")
    assert sine.saved["self"].max == 1
    assert "SinBackward0" in played.to_html()
    assert "SinBackward0" in played.to_text()


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_memory_is_counted_by_storage(layout):
    """The sine saves its input: two rows and four, of three numbers."""
    _, y = nested(layout)
    report = saved_memory(y)
    assert {row.name: row.nbytes for row in report.rows}["SinBackward0"] == (2 + 4) * 3 * 4


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_explain_reads_them(layout):
    """A result, a leaf, and whether a loss reaches what it was made of."""
    x, y = nested(layout)
    assert explain(y).code == "non-leaf"
    assert explain(x, loss=total(y)).code != "not-reached"
    leaf = torch.nested.nested_tensor(
        [torch.ones(2), torch.ones(3)], layout=layout, requires_grad=True
    )
    assert explain(leaf).code == "no-backward-yet"


class Unreadable(Tensor):
    """A tensor that refuses every look at its numbers."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        """Refuse what a look needs, and let the rest be done."""
        if func in (Tensor.tolist, Tensor.detach, torch.linalg.vector_norm, Tensor.min):
            raise KeyError("not for your eyes")
        return super().__torch_function__(func, types, args, kwargs or {})


def test_a_value_that_cannot_be_read_ends_no_backward_pass():
    """It is shown without numbers; the gradient is that of a plain backward."""
    x = torch.ones(3, requires_grad=True)
    played = replay((x * 2).sin(), gradient=torch.ones(3).as_subclass(Unreadable))
    assert torch.allclose(x.grad.as_subclass(Tensor), 2 * torch.full((3,), 2.0).cos())
    unread = [v for step in played.steps for v in step.incoming if v.numbers is None]
    assert unread
    assert all(value.norm is None for value in unread)
