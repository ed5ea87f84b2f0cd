"""Messages about custom Functions and custom operators."""

import torch
from torch.autograd import Function


class OneGradient(Function):
    """Two inputs, one gradient."""

    @staticmethod
    def forward(ctx, x, y):
        """Multiply."""
        ctx.save_for_backward(x, y)
        return x * y

    @staticmethod
    def backward(ctx, gradient):
        """Forgets y."""
        _, y = ctx.saved_tensors
        return gradient * y


def e100_one_gradient_for_two_inputs():
    """There is one gradient for each argument of forward."""
    x, y = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    OneGradient.apply(x, y).sum().backward()


class TwoGradients(Function):
    """Two inputs, two gradients."""

    @staticmethod
    def forward(ctx, x, y):
        """Multiply."""
        ctx.save_for_backward(x, y)
        return x * y

    @staticmethod
    def backward(ctx, gradient):
        """One for each argument."""
        x, y = ctx.saved_tensors
        return gradient * y, gradient * x


def cure_e100():
    """One gradient for each."""
    x, y = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    TwoGradients.apply(x, y).sum().backward()
    assert y.grad.tolist() == [1, 1, 1]


class GradientForANumber(Function):
    """The second argument is a number, and gets a gradient all the same."""

    @staticmethod
    def forward(ctx, x, k):
        """Multiply."""
        return x * k

    @staticmethod
    def backward(ctx, gradient):
        """One gradient too many."""
        return gradient, gradient


def e101_gradient_for_a_number():
    """An argument that is not a tensor gets None."""
    x = torch.ones(3, requires_grad=True)
    GradientForANumber.apply(x, 2).sum().backward()


class Scale(Function):
    """x times a number."""

    @staticmethod
    def forward(ctx, x, k):
        """Multiply."""
        ctx.k = k
        return x * k

    @staticmethod
    def backward(ctx, gradient):
        """None for the number."""
        return gradient * ctx.k, None


def cure_e101():
    """None for the number."""
    x = torch.ones(3, requires_grad=True)
    Scale.apply(x, 2).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


class AddBias(Function):
    """Adds a row to a matrix; forgets that the row was broadcast."""

    @staticmethod
    def forward(ctx, x, bias):
        """Add."""
        return x + bias

    @staticmethod
    def backward(ctx, gradient):
        """The second one has the shape of x, not of bias."""
        return gradient, gradient.sum(dim=1)


def e102_gradient_of_the_wrong_shape():
    """A gradient has the shape of its input."""
    x, bias = torch.ones(2, 3), torch.ones(3, requires_grad=True)
    AddBias.apply(x, bias).sum().backward()


class AddBiasRight(Function):
    """Adds a row to a matrix."""

    @staticmethod
    def forward(ctx, x, bias):
        """Add."""
        ctx.shape = bias.shape
        return x + bias

    @staticmethod
    def backward(ctx, gradient):
        """Add up along the dimensions that were broadcast."""
        return gradient, gradient.sum_to_size(ctx.shape)


def cure_e102():
    """Add up along the dimensions that were broadcast."""
    x, bias = torch.ones(2, 3), torch.ones(3, requires_grad=True)
    AddBiasRight.apply(x, bias).sum().backward()
    assert bias.grad.tolist() == [2, 2, 2]


def e102b_leaf_with_new_data():
    """The graph of `used` holds the node of the leaf, with the shape from before."""
    x, bias = torch.ones(2, 3), torch.empty(0, requires_grad=True)
    used = bias.view_as(bias)
    bias.data = torch.ones(3)
    AddBiasRight.apply(x, bias).sum().backward()
    assert used.shape == (0,)


def cure_e102b():
    """Give the leaf its shape first, then change its values."""
    x, bias = torch.ones(2, 3), torch.zeros(3, requires_grad=True)
    used = bias.view_as(bias)
    bias.data.copy_(torch.ones(3))
    AddBiasRight.apply(x, bias).sum().backward()
    assert bias.grad.tolist() == [2, 2, 2]
    assert used.shape == (3,)


class SavesANumber(Function):
    """Saves something that is not a tensor."""

    @staticmethod
    def forward(ctx, x, k):
        """Multiply."""
        ctx.save_for_backward(x, k)
        return x * k

    @staticmethod
    def backward(ctx, gradient):
        """Never reached."""
        return gradient, None


def e104_save_a_number():
    """save_for_backward() takes tensors."""
    SavesANumber.apply(torch.ones(3, requires_grad=True), 2)


def cure_e104():
    """A number is kept as an attribute of ctx."""
    x = torch.ones(3, requires_grad=True)
    Scale.apply(x, 2).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


class NoBackward(Function):
    """Has no derivative."""

    @staticmethod
    def forward(ctx, x):
        """Round."""
        return x.round()


def e105_no_backward():
    """The graph needs a backward that was not written."""
    x = torch.ones(3, requires_grad=True)
    NoBackward.apply(x).sum().backward()


class RoundStraightThrough(Function):
    """Rounds; the gradient passes as if it did not."""

    @staticmethod
    def forward(ctx, x):
        """Round."""
        return x.round()

    @staticmethod
    def backward(ctx, gradient):
        """Pass it on."""
        return gradient


def cure_e105():
    """Write one."""
    x = torch.ones(3, requires_grad=True)
    RoundStraightThrough.apply(x).sum().backward()
    assert x.grad.tolist() == [1, 1, 1]


class OldStyle(Function):
    """As it was written before PyTorch 0.4."""

    def forward(self, x):
        """Double."""
        return x * 2

    def backward(self, gradient):
        """Double."""
        return gradient * 2


def e106_old_style_function():
    """An instance of a Function is called."""
    OldStyle()(torch.ones(3, requires_grad=True))


def cure_e106():
    """Static methods, and apply()."""
    x = torch.ones(3, requires_grad=True)
    RoundStraightThrough.apply(x).sum().backward()
    assert x.grad.tolist() == [1, 1, 1]


class NotStatic(Function):
    """@staticmethod is missing."""

    def forward(self, ctx, x):
        """Double."""
        return x * 2


def e106b_forward_is_not_static():
    """One argument is missing: Python takes the first for self."""
    NotStatic.apply(torch.ones(3, requires_grad=True))


def cure_e106b():
    """With @staticmethod."""
    x = torch.ones(3, requires_grad=True)
    assert RoundStraightThrough.apply(x).requires_grad


def e119b_argument_missing():
    """forward() takes x and k."""
    Scale.apply(torch.ones(3, requires_grad=True))


def cure_e119b():
    """Give both, by position."""
    assert Scale.apply(torch.ones(3), 2).tolist() == [2, 2, 2]


class DirtyButNotReturned(Function):
    """Changes its input in place, returns something else."""

    @staticmethod
    def forward(ctx, x):
        """Add 1 in place."""
        x.add_(1)
        ctx.mark_dirty(x)
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        """Never reached."""
        return gradient


def e108_dirty_input_not_returned():
    """An input that was changed in place has to be an output."""
    DirtyButNotReturned.apply(torch.ones(3, requires_grad=True) * 1)


class AddOne(Function):
    """Adds 1 in place."""

    @staticmethod
    def forward(ctx, x):
        """Add 1 in place."""
        x.add_(1)
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(ctx, gradient):
        """Pass it on."""
        return gradient


def cure_e108():
    """Return the input itself."""
    x = torch.ones(3, requires_grad=True)
    AddOne.apply(x * 1).sum().backward()
    assert x.grad.tolist() == [1, 1, 1]


def e109_dirty_leaf():
    """An in-place Function is applied to a leaf."""
    AddOne.apply(torch.ones(3, requires_grad=True))


def cure_e109():
    """Copy the leaf first."""
    x = torch.ones(3, requires_grad=True)
    AddOne.apply(x.clone()).sum().backward()
    assert x.grad.tolist() == [1, 1, 1]


class AddOneTwice(Function):
    """Adds 1 in place, and has a second output."""

    @staticmethod
    def forward(ctx, x):
        """Add 1 in place."""
        x.add_(1)
        ctx.mark_dirty(x)
        return x, x * 2

    @staticmethod
    def backward(ctx, first, second):
        """Add up."""
        return first + 2 * second


def e110_in_place_on_a_view_with_two_outputs():
    """The engine can rewrite the history of a view for one output only."""
    base = torch.ones(4, requires_grad=True) * 1
    AddOneTwice.apply(base[:2])


def cure_e110():
    """Copy the view first."""
    x = torch.ones(4, requires_grad=True)
    first, second = AddOneTwice.apply((x * 1)[:2].clone())
    (first + second).sum().backward()
    assert x.grad.tolist() == [3, 3, 0, 0]


class ReturnsItsInput(Function):
    """Returns its input, and saves it in setup_context."""

    @staticmethod
    def forward(x):
        """Return it."""
        return x

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Save it."""
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx, gradient):
        """Pass it on."""
        return gradient


def e111_returned_input_is_saved():
    """An input that is returned as it is cannot be saved in setup_context."""
    ReturnsItsInput.apply(torch.ones(3, requires_grad=True))


class ReturnsAView(ReturnsItsInput):
    """Returns a view of its input."""

    @staticmethod
    def forward(x):
        """Return a view."""
        return x.view_as(x)


def cure_e111():
    """Return a view."""
    x = torch.ones(3, requires_grad=True)
    ReturnsAView.apply(x).sum().backward()
    assert x.grad.tolist() == [1, 1, 1]


def e112_function_under_func_grad():
    """Transforms of torch.func need forward and setup_context apart."""
    torch.func.grad(lambda x: Scale.apply(x, 2).sum())(torch.ones(3))


class ScaleApart(Function):
    """x times a number, with setup_context."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, k):
        """Multiply."""
        return x * k

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Keep the number."""
        _, ctx.k = inputs

    @staticmethod
    def backward(ctx, gradient):
        """None for the number."""
        return gradient * ctx.k, None


def cure_e112():
    """With setup_context."""
    gradient = torch.func.grad(lambda x: ScaleApart.apply(x, 2).sum())(torch.ones(3))
    assert gradient.tolist() == [2, 2, 2]


@torch.library.custom_op("gradbook_clinic::double", mutates_args=())
def double(x: torch.Tensor) -> torch.Tensor:
    """Double."""
    return x * 2


double.register_autograd(
    lambda ctx, gradient: gradient * 2, setup_context=lambda ctx, inputs, output: None
)


def e112b_custom_operator_under_func_grad():
    """The Function that register_autograd() makes has no setup_context."""
    torch.func.grad(lambda x: double(x).sum())(torch.ones(3))


def cure_e112b():
    """Use autograd.grad()."""
    x = torch.ones(3, requires_grad=True)
    (gradient,) = torch.autograd.grad(double(x).sum(), x)
    assert gradient.tolist() == [2, 2, 2]


class NoVmapRule(ScaleApart):
    """Says nothing about vmap."""

    generate_vmap_rule = False


def e113_function_without_vmap_rule():
    """There is no rule that vmap could follow."""
    torch.func.vmap(lambda x: NoVmapRule.apply(x, 2))(torch.ones(3))


def cure_e113():
    """Let the rule be made."""
    assert torch.func.vmap(lambda x: ScaleApart.apply(x, 2))(torch.ones(3)).tolist() == [2, 2, 2]


class BackwardAndVjp(RoundStraightThrough):
    """The two names of one thing."""

    @staticmethod
    def vjp(ctx, gradient):
        """Pass it on."""
        return gradient


def e117_backward_and_vjp():
    """These are two names of one method."""
    BackwardAndVjp.apply(torch.ones(3, requires_grad=True)).sum().backward()


def cure_e117():
    """Keep one."""
    x = torch.ones(3, requires_grad=True)
    RoundStraightThrough.apply(x).sum().backward()
    assert x.grad.tolist() == [1, 1, 1]


class ReadsTwice(Function):
    """Reads what it saved twice, though it asked to free it at the first time."""

    clear_saved_tensors_on_access = True

    @staticmethod
    def forward(ctx, x):
        """Square."""
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        """Read it twice."""
        return gradient * ctx.saved_tensors[0] + gradient * ctx.saved_tensors[0]


def e118_saved_tensors_read_twice():
    """They were freed at the first read."""
    ReadsTwice.apply(torch.ones(3, requires_grad=True)).sum().backward()


class ReadsOnce(ReadsTwice):
    """Reads what it saved once."""

    @staticmethod
    def backward(ctx, gradient):
        """Read it once."""
        (x,) = ctx.saved_tensors
        return 2 * gradient * x


def cure_e118():
    """Read them once."""
    x = torch.ones(3, requires_grad=True)
    ReadsOnce.apply(x).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


class TwoTangents(RoundStraightThrough):
    """jvp returns one too many."""

    @staticmethod
    def jvp(ctx, tangent):
        """Return two."""
        return tangent, tangent


def e114b_two_tangents_for_one_output():
    """There is one tangent for each output."""
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(torch.ones(3), torch.ones(3))
        TwoTangents.apply(dual)


class OneTangent(RoundStraightThrough):
    """jvp returns one."""

    @staticmethod
    def jvp(ctx, tangent):
        """Return one."""
        return tangent.clone()


def cure_e114b():
    """One for each output."""
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(torch.ones(3), torch.ones(3))
        out = torch.autograd.forward_ad.unpack_dual(OneTangent.apply(dual))
        assert out.tangent.tolist() == [1, 1, 1]


class SavedVariables(Function):
    """Reads what it saved by its old name."""

    @staticmethod
    def forward(ctx, x):
        """Square."""
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        """Read it by its old name."""
        (x,) = ctx.saved_variables
        return 2 * gradient * x


def w18_saved_variables():
    """The old name of saved_tensors."""
    SavedVariables.apply(torch.ones(3, requires_grad=True)).sum().backward()


def cure_w18():
    """The new name."""
    x = torch.ones(3, requires_grad=True)
    ReadsOnce.apply(x).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


@torch.library.custom_op("gradbook_clinic::no_formula", mutates_args=())
def no_formula(x: torch.Tensor) -> torch.Tensor:
    """Double, and say nothing about its derivative."""
    return x * 2


def e220_custom_operator_without_formula():
    """Nobody told autograd how to differentiate it."""
    no_formula(torch.ones(3, requires_grad=True)).sum().backward()


def cure_e220():
    """register_autograd() does."""
    x = torch.ones(3, requires_grad=True)
    double(x).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


@torch.library.custom_op("gradbook_clinic::double_in_place", mutates_args={"x"})
def double_in_place(x: torch.Tensor) -> None:
    """Double in place."""
    x.mul_(2)


def e221_formula_for_an_in_place_operator():
    """A formula needs an operator that makes a new result."""
    double_in_place.register_autograd(lambda ctx, gradient: None)


def cure_e221():
    """The operator that makes a new result has one."""
    x = torch.ones(3, requires_grad=True)
    double(x).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


LIBRARY = torch.library.Library("gradbook_clinic_low", "DEF")
LIBRARY.define("twice(Tensor x) -> Tensor")
LIBRARY.impl("twice", lambda x: x * 2, "CPU")


def w70_operator_without_autograd_kernel():
    """Only a CPU kernel is registered: the gradient may be lost."""
    x = torch.ones(3, requires_grad=True)
    torch.ops.gradbook_clinic_low.twice(x).sum().backward()


def cure_w70():
    """custom_op() and register_autograd() make both."""
    x = torch.ones(3, requires_grad=True)
    double(x).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


class NumberAsGradient(Function):
    """backward returns a Python number."""

    @staticmethod
    def forward(ctx, x):
        """Double."""
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        """Not a tensor."""
        return 2.0


def e318_number_as_gradient():
    """The gradient of a tensor is a tensor."""
    NumberAsGradient.apply(torch.ones(3, requires_grad=True)).sum().backward()


class TensorAsGradient(NumberAsGradient):
    """backward returns a tensor."""

    @staticmethod
    def backward(ctx, gradient):
        """Times what comes in."""
        return gradient * 2.0


def cure_e318():
    """Multiply the incoming gradient by the number."""
    x = torch.ones(3, requires_grad=True)
    TensorAsGradient.apply(x).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


def e314_function_without_jvp():
    """Forward mode asks the Function for a rule that it does not have."""
    torch.func.jvp(lambda x: ScaleApart.apply(x, 2), (torch.ones(3),), (torch.ones(3),))


class ScaleWithJvp(ScaleApart):
    """x times a number, in both modes."""

    @staticmethod
    def jvp(ctx, tangent, _):
        """The tangent is scaled as the value is."""
        return tangent * ctx.k


def cure_e314():
    """Write jvp."""
    _, tangent = torch.func.jvp(
        lambda x: ScaleWithJvp.apply(x, 2), (torch.ones(3),), (torch.ones(3),)
    )
    assert tangent.tolist() == [2, 2, 2]


class SavesANumberForJvp(Function):
    """`save_for_forward` is given a number."""

    @staticmethod
    def forward(ctx, x, k):
        ctx.save_for_forward(k)
        return x * k


def e340_number_saved_for_forward():
    """Only tensors can be saved."""
    SavesANumberForJvp.apply(torch.ones(2), 3)


class KeepsANumberForJvp(Function):
    """The number is an attribute."""

    @staticmethod
    def forward(ctx, x, k):
        ctx.k = k
        return x * k

    @staticmethod
    def jvp(ctx, tangent, _):
        return tangent * ctx.k


def cure_e340():
    """Keep it as an attribute."""
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(torch.ones(2), torch.ones(2))
        result = torch.autograd.forward_ad.unpack_dual(KeepsANumberForJvp.apply(dual, 3))
    assert result.tangent.tolist() == [3, 3]


def w82_function_is_instantiated():
    """An instance of a Function is made."""
    KeepsANumberForJvp()


def cure_w82():
    """Use the class."""
    assert KeepsANumberForJvp.apply(torch.ones(1), 3).item() == 3


@torch.library.custom_op("gradbook_tests::first_doubled", mutates_args=())
def first_doubled(tensors: list[torch.Tensor]) -> torch.Tensor:
    """An operator that takes a list."""
    return tensors[0] * 2


first_doubled.register_autograd(lambda ctx, gradient: gradient * 2)


def e342_one_gradient_for_a_list():
    """The argument is a list, its gradient is not."""
    first_doubled([torch.ones(2, requires_grad=True)]).sum().backward()


@torch.library.custom_op("gradbook_tests::first_tripled", mutates_args=())
def first_tripled(tensors: list[torch.Tensor]) -> torch.Tensor:
    """An operator that takes a list."""
    return tensors[0] * 3


first_tripled.register_autograd(lambda ctx, gradient: [gradient * 3])


def cure_e342():
    """A list for a list."""
    x = torch.ones(2, requires_grad=True)
    first_tripled([x]).sum().backward()
    assert x.grad.tolist() == [3, 3]


class TangentForAnIndex(Function):
    """`jvp` returns a tangent for an output that has none."""

    @staticmethod
    def forward(ctx, x):
        index = x.argmax()
        ctx.mark_non_differentiable(index)
        return x * 2, index

    @staticmethod
    def jvp(ctx, tangent):
        return tangent * 2, tangent.sum()


def e343_tangent_for_an_index():
    """An index has no tangent."""
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(torch.ones(2), torch.ones(2))
        TangentForAnIndex.apply(dual)


class NoTangentForAnIndex(TangentForAnIndex):
    """`jvp` returns None for the index."""

    @staticmethod
    def jvp(ctx, tangent):
        return tangent * 2, None


def cure_e343():
    """Return None."""
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(torch.ones(2), torch.ones(2))
        doubled, _ = NoTangentForAnIndex.apply(dual)
        assert torch.autograd.forward_ad.unpack_dual(doubled).tangent.tolist() == [2, 2]
