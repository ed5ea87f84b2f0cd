"""Messages of torch.func.vmap()."""

import torch
from torch import nn
from torch.func import functional_call, grad, vmap


def e147_item_inside_vmap():
    """One Python number cannot stand for a whole batch."""
    vmap(lambda x: x * x.sum().item())(torch.ones(2, 3))


def cure_e147():
    """Stay with tensors."""
    assert vmap(lambda x: x * x.sum())(torch.ones(2, 3)).tolist() == [[3, 3, 3], [3, 3, 3]]


def e148_if_inside_vmap():
    """A Python `if` cannot go two ways at once."""
    vmap(lambda x: x if x.sum() > 0 else -x)(torch.ones(2, 3))


def cure_e148():
    """torch.where() can."""
    assert vmap(lambda x: torch.where(x.sum() > 0, x, -x))(torch.ones(2, 3)).sum() == 6


def e149_write_into_an_unbatched_tensor():
    """The buffer exists once, the values exist for each row."""

    def row(x):
        total = torch.zeros(3)
        total.copy_(x)
        return total

    vmap(row)(torch.ones(2, 3))


def cure_e149():
    """Make the buffer from the row."""

    def row(x):
        total = torch.zeros_like(x)
        total.copy_(x)
        return total

    assert vmap(row)(torch.ones(2, 3)).sum() == 6


def e150_random_numbers_inside_vmap():
    """The same numbers for each row, or different ones?"""
    vmap(lambda x: x + torch.randn(3))(torch.ones(2, 3))


def cure_e150():
    """Say which."""
    same = vmap(lambda x: x + torch.randn(3), randomness="same")(torch.ones(2, 3))
    assert same[0].equal(same[1])


def e151_boolean_mask_inside_vmap():
    """Each row would get a result of its own size."""
    vmap(lambda x: x[x > 0].sum())(torch.ones(2, 3))


def cure_e151():
    """Replace what is masked by zeros."""
    assert vmap(lambda x: torch.where(x > 0, x, 0).sum())(torch.ones(2, 3)).tolist() == [3, 3]


def e156_batch_norm_inside_vmap():
    """The running statistics exist once, the batches exist for each row."""
    model = nn.BatchNorm1d(3)
    vmap(model)(torch.randn(4, 2, 3))


def cure_e156():
    """A normalisation without running statistics."""
    model = nn.GroupNorm(1, 3)
    parameters = dict(model.named_parameters())

    def loss(parameters, x):
        return functional_call(model, parameters, (x.unsqueeze(0),)).sum()

    gradients = vmap(grad(loss), in_dims=(None, 0))(parameters, torch.randn(4, 3))
    assert gradients["weight"].shape == (4, 3)


def e161_function_returns_a_number():
    """Only tensors can be stacked."""
    vmap(lambda x: 1.0)(torch.ones(2, 3))


def cure_e161():
    """Return a tensor."""
    assert vmap(lambda x: torch.tensor(1.0))(torch.ones(2, 3)).tolist() == [1, 1]


def e152b_number_among_the_inputs():
    """By default every argument is split."""
    vmap(lambda x, k: x * k)(torch.ones(2, 3), 2.0)


def cure_e152b():
    """None: this one is not split."""
    assert vmap(lambda x, k: x * k, in_dims=(0, None))(torch.ones(2, 3), 2.0).sum() == 12


def e161b_no_input():
    """There is nothing to split."""
    vmap(lambda: torch.ones(3))()


def cure_e161b():
    """Give it the batch."""
    assert vmap(lambda x: x * 2)(torch.ones(2, 3)).shape == (2, 3)


def w21_operation_without_batching_rule():
    """The operation runs row by row."""
    vmap(lambda x: torch.renorm(x, 2, 0, 1.0))(torch.ones(2, 3, 3))


def cure_w21():
    """Write it with operations that have a rule."""

    def row(x):
        norm = x.norm(dim=1, keepdim=True)
        return x / norm.clamp(min=1.0)

    assert vmap(row)(torch.ones(2, 3, 3)).norm(dim=-1).allclose(torch.ones(2, 3))


def e320_sizes_differ():
    """Two rows of one, three of the other."""
    torch.func.vmap(torch.dot)(torch.ones(2, 4), torch.ones(3, 4))


def cure_e320():
    """Split the rows, and pass what is one for all of them with None."""
    every = torch.func.vmap(lambda row, others: others @ row, in_dims=(0, None))
    assert every(torch.ones(2, 4), torch.ones(3, 4)).tolist() == [[4, 4, 4]] * 2


def e320b_no_such_dimension():
    """A single number has no dimension to split."""
    torch.func.vmap(torch.mul)(torch.ones(2, 4), torch.tensor(3.0))


def cure_e320b():
    """in_dims says which argument is not split."""
    scaled = torch.func.vmap(torch.mul, in_dims=(0, None))(torch.ones(2, 4), torch.tensor(3.0))
    assert scaled.tolist() == [[3] * 4] * 2


def e334_masked_select_inside_vmap():
    """Each row would have a result of its own length."""
    values = torch.ones(2)
    vmap(lambda row: torch.masked_select(values, row > 0))(torch.ones(3, 2))


def cure_e334():
    """Keep the shape, and put zeros where the mask is false."""
    values = torch.ones(2)
    kept = vmap(lambda row: torch.where(row > 0, values, 0))(torch.tensor([[1, -1], [1, 1]]))
    assert kept.tolist() == [[1, 0], [1, 1]]


def e334b_one_hot_without_a_number():
    """The width of the result is read off the values."""
    vmap(torch.nn.functional.one_hot)(torch.arange(3))


def cure_e334b():
    """Say how wide it is."""
    hot = vmap(lambda index: torch.nn.functional.one_hot(index, 3))(torch.arange(3))
    assert hot.equal(torch.eye(3, dtype=torch.long))


def e335_random_numbers_into_out():
    """One tensor cannot take the numbers of all rows."""
    buffer = torch.ones(2)
    vmap(lambda row: row + torch.randn(2, out=buffer), randomness="different")(torch.ones(3, 2))


def cure_e335():
    """Draw outside, and pass the numbers in."""
    noise = torch.randn(3, 2, out=torch.ones(3, 2))
    noisy = vmap(lambda row, drawn: row + drawn)(torch.ones(3, 2), noise)
    assert noisy.equal(1 + noise)


def e335b_random_numbers_in_place():
    """A tensor from outside is to be filled differently for each row."""
    buffer = torch.ones(2)
    vmap(lambda row: row + buffer.normal_(), randomness="different")(torch.ones(3, 2))


def cure_e335b():
    """Draw outside, and pass the numbers in."""
    noise = torch.ones(3, 2).normal_()
    noisy = vmap(lambda row, drawn: row + drawn)(torch.ones(3, 2), noise)
    assert noisy.equal(1 + noise)


def e335c_the_same_numbers_for_different_rows():
    """What is drawn depends on the row."""
    vmap(torch.bernoulli, randomness="same")(torch.full((3, 2), 0.5))


def cure_e335c():
    """Draw outside, the same for all rows, and pass the numbers in."""
    drawn = torch.rand(2)
    rows = torch.full((3, 2), 0.5)
    result = vmap(lambda row, drawn: (drawn < row).float(), in_dims=(0, None))(rows, drawn)
    assert result[0].equal(result[1])


def e364_two_dimensions_for_one_argument():
    """There is one argument."""
    vmap(torch.sum, in_dims=(0, 0))(torch.ones(2, 3))


def cure_e364():
    """One entry for one argument."""
    assert vmap(torch.sum, in_dims=(0,))(torch.ones(2, 3)).tolist() == [3, 3]


def e364b_one_dimension_for_two_results():
    """There are two results."""
    vmap(lambda row: (row, row * 2), out_dims=(0,))(torch.ones(2, 3))


def cure_e364b():
    """One entry for each result."""
    rows, columns = vmap(lambda row: (row, row * 2), out_dims=(0, 1))(torch.ones(2, 3))
    assert (rows.shape, columns.shape) == ((2, 3), (3, 2))


def e364c_dimensions_in_a_list():
    """A list stands for one argument that is a list."""
    vmap(torch.sum, in_dims=[0])(torch.ones(2, 3))


def cure_e364c():
    """A tuple."""
    assert vmap(torch.sum, in_dims=(0,))(torch.ones(2, 3)).tolist() == [3, 3]


def e364d_result_said_to_be_the_same_for_all_rows():
    """It depends on the row."""
    vmap(torch.sum, out_dims=None)(torch.ones(2, 3))


def cure_e364d():
    """Say where the rows go."""
    assert vmap(torch.sum, out_dims=0)(torch.ones(2, 3)).tolist() == [3, 3]
