"""Messages of torch.autograd.functional and of forward-mode AD."""

import torch
import torch.nn.functional as F
from torch.autograd import forward_ad
from torch.autograd.functional import hessian, jacobian, vjp
from torch.nn.attention import SDPBackend, sdpa_kernel


def e130_dual_tensor_without_level():
    """Dual tensors live inside a level."""
    forward_ad.make_dual(torch.ones(3), torch.ones(3))


def cure_e130():
    """Open one."""
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(torch.ones(3), torch.ones(3))
        assert forward_ad.unpack_dual(dual * 2).tangent.tolist() == [2, 2, 2]


def e133_nested_levels():
    """There is one level only."""
    with forward_ad.dual_level(), forward_ad.dual_level():
        pass


def cure_e133():
    """torch.func.jvp() nests."""

    def slope(x):
        return torch.func.jvp(torch.sin, (x,), (torch.ones(()),))[1]

    _, second = torch.func.jvp(slope, (torch.ones(()),), (torch.ones(()),))
    assert second.allclose(-torch.ones(()).sin())


def e133b_level_left_in_the_wrong_order():
    """A level is left that is not the last one entered."""
    with forward_ad.dual_level():
        forward_ad.exit_dual_level(level=1)


def cure_e133b():
    """`with` leaves in the right order."""
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(torch.ones(3), torch.ones(3))
        assert forward_ad.unpack_dual(dual).tangent is not None


def e134_dual_of_a_dual():
    """The tensor has a tangent already."""
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(torch.ones(3), torch.ones(3))
        forward_ad.make_dual(dual, torch.ones(3))


def cure_e134():
    """Take the primal part."""
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(torch.ones(3), torch.ones(3))
        again = forward_ad.make_dual(forward_ad.unpack_dual(dual).primal, torch.zeros(3))
        assert forward_ad.unpack_dual(again).tangent.tolist() == [0, 0, 0]


def e135b_hessian_through_fused_attention():
    """torch.func.hessian() runs forward mode over reverse mode."""

    def loss(query):
        return F.scaled_dot_product_attention(query, query, query).sum()

    torch.func.hessian(loss)(torch.randn(1, 1, 4, 8))


def cure_e135b():
    """Choose the implementation that is made of ordinary operations."""

    def loss(query):
        return F.scaled_dot_product_attention(query, query, query).sum()

    query = torch.randn(1, 1, 2, 2)
    with sdpa_kernel(SDPBackend.MATH):
        assert torch.func.hessian(loss)(query).shape == (*query.shape, *query.shape)


def e135c_out_argument():
    """out= has no forward-mode rule."""
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(torch.ones(3), torch.ones(3))
        torch.mul(dual, 2, out=torch.empty(3))


def cure_e135c():
    """Let the operation make its result."""
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(torch.ones(3), torch.ones(3))
        assert forward_ad.unpack_dual(torch.mul(dual, 2)).tangent.tolist() == [2, 2, 2]


def e141_hessian_of_a_vector():
    """A Hessian belongs to a function that returns one number."""
    hessian(lambda x: x * x, torch.ones(3))


def cure_e141():
    """Return one number."""
    assert hessian(lambda x: (x * x).sum(), torch.ones(3)).equal(2 * torch.eye(3))


def e142_strict_and_cut():
    """The function cuts its graph."""
    jacobian(lambda x: (x * x).detach(), torch.ones(3), strict=True)


def cure_e142():
    """Without detach()."""
    assert jacobian(lambda x: x * x, torch.ones(3), strict=True).equal(2 * torch.eye(3))


def e142b_strict_and_linear():
    """The second derivative of a linear function depends on nothing."""
    hessian(lambda x: x.sum(), torch.ones(3), strict=True)


def cure_e142b():
    """Accept zeros."""
    assert hessian(lambda x: x.sum(), torch.ones(3)).equal(torch.zeros(3, 3))


def e142c_strict_and_vectorized():
    """These two options exclude each other."""
    jacobian(lambda x: x * x, torch.ones(3), strict=True, vectorize=True)


def cure_e142c():
    """Choose one."""
    assert jacobian(lambda x: x * x, torch.ones(3), vectorize=True).equal(2 * torch.eye(3))


def e143_vjp_without_v():
    """The vector can be left out for one number only."""
    vjp(lambda x: x * x, torch.ones(3))


def cure_e143():
    """Give v, in the shape of the output."""
    _, product = vjp(lambda x: x * x, torch.ones(3), v=torch.ones(3))
    assert product.tolist() == [2, 2, 2]


def e319_tangent_of_another_shape():
    """A tangent has one number for each element."""
    torch.func.jvp(torch.sin, (torch.zeros(3),), (torch.ones(2),))


def cure_e319():
    """The shape of the point."""
    point = torch.zeros(3)
    _, tangent = torch.func.jvp(torch.sin, (point,), (torch.ones_like(point),))
    assert tangent.tolist() == [1, 1, 1]


def e344_hessian_of_two_results():
    """The function returns a tuple."""
    hessian(lambda x: (x.sum(), x.prod()), torch.ones(2))


def cure_e344():
    """One number."""
    assert hessian(lambda x: torch.stack([x.sum(), x.prod()]).sum(), torch.ones(2)).tolist() == [
        [0, 1],
        [1, 0],
    ]


def e345_jvp_without_a_direction():
    """The input has two elements, and no direction is given."""
    torch.autograd.functional.jvp(torch.square, torch.ones(2))


def cure_e345():
    """One number for each element of the input."""
    _, slope = torch.autograd.functional.jvp(torch.square, torch.ones(2), torch.ones(2))
    assert slope.tolist() == [2, 2]


def e346_forward_mode_row_by_row():
    """Forward mode is there for all columns at once only."""
    jacobian(torch.square, torch.ones(2), strategy="forward-mode")


def cure_e346():
    """All at once."""
    result = jacobian(torch.square, torch.ones(2), strategy="forward-mode", vectorize=True)
    assert result.tolist() == [[2, 0], [0, 2]]


def e368_function_returns_a_list():
    """A tuple would do."""
    jacobian(lambda x: [x, x * 2], torch.ones(2))


def cure_e368():
    """A tuple."""
    _, doubled = jacobian(lambda x: (x, x * 2), torch.ones(2))
    assert doubled.tolist() == [[2, 0], [0, 2]]


def e369_v_of_another_shape():
    """Two outputs, three numbers."""
    vjp(torch.square, torch.ones(2), torch.ones(3))


def cure_e369():
    """One number for each output."""
    x = torch.ones(2)
    _, slope = vjp(torch.square, x, torch.ones_like(x.square()))
    assert slope.tolist() == [2, 2]


class ViewWithoutTangentView(torch.autograd.Function):
    """`forward` returns a view, `jvp` a copy."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def jvp(ctx, tangent):
        return tangent.clone()


class InPlaceWithoutTangent(torch.autograd.Function):
    """`forward` works in place, `jvp` does not."""

    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        return x.mul_(2)

    @staticmethod
    def jvp(ctx, tangent):
        return tangent * 2


class ViewOfBoth(ViewWithoutTangentView):
    """A view of the tangent too."""

    @staticmethod
    def jvp(ctx, tangent):
        return tangent.view_as(tangent)


class InPlaceBoth(InPlaceWithoutTangent):
    """The tangent is changed in place too."""

    @staticmethod
    def jvp(ctx, tangent):
        return tangent.mul_(2)


def tangent_through(function):
    """The tangent of a function at one, in the direction of one."""
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(torch.ones(2), torch.ones(2))
        return forward_ad.unpack_dual(function.apply(dual)).tangent.tolist()


def e370_jvp_of_a_view():
    """The tangent is a new tensor."""
    tangent_through(ViewWithoutTangentView)


def cure_e370():
    """A view of the tangent."""
    assert tangent_through(ViewOfBoth) == [1, 1]


def e370b_jvp_of_an_in_place_function():
    """The tangent is a new tensor."""
    tangent_through(InPlaceWithoutTangent)


def cure_e370b():
    """In place."""
    assert tangent_through(InPlaceBoth) == [2, 2]


def e371_jvp_of_integers():
    """`arange` makes integers."""
    torch.func.jvp(torch.square, (torch.arange(3),), (torch.ones(3),))


def cure_e371():
    """Convert, then make the tangent."""
    x = torch.arange(3).float()
    _, slope = torch.func.jvp(torch.square, (x,), (torch.ones_like(x),))
    assert slope.tolist() == [0, 2, 4]


def e375_strict_jvp_of_a_constant():
    """The output does not depend on the input."""
    torch.func.jvp(lambda x: torch.ones(2), (torch.ones(2),), (torch.ones(2),), strict=True)


def cure_e375():
    """Without `strict` the tangent is zero."""
    _, slope = torch.func.jvp(lambda x: torch.ones(2), (torch.ones(2),), (torch.ones(2),))
    assert slope.tolist() == [0, 0]
