"""Messages about shapes, dtypes and devices, losses included."""

import numpy as np
import torch
import torch.nn.functional as F


def w53_loss_broadcasts_its_target():
    """(4, 1) against (4,) makes 16 differences."""
    prediction = torch.ones(4, 1, requires_grad=True)
    target = torch.ones(4)
    F.mse_loss(prediction, target)


def cure_w53():
    """Give both the same shape."""
    prediction = torch.ones(4, 1, requires_grad=True)
    target = torch.ones(4)
    assert F.mse_loss(prediction.squeeze(1), target) == 0


def e203_target_of_another_size():
    """(4, 1) against (4,)."""
    prediction = torch.zeros(4, 1, requires_grad=True)
    target = torch.ones(4)
    F.binary_cross_entropy_with_logits(prediction, target)


def cure_e203():
    """Give both the same shape."""
    prediction = torch.zeros(4, 1, requires_grad=True)
    target = torch.ones(4)
    F.binary_cross_entropy_with_logits(prediction.squeeze(1), target).backward()
    assert prediction.grad.shape == (4, 1)


def e204_logits_for_probabilities():
    """binary_cross_entropy() wants numbers between 0 and 1."""
    logits = torch.tensor([-1.0, 2.0], requires_grad=True)
    target = torch.tensor([0.0, 1.0])
    F.binary_cross_entropy(logits, target)


def cure_e204():
    """The other one takes logits."""
    logits = torch.tensor([-1.0, 2.0], requires_grad=True)
    target = torch.tensor([0.0, 1.0])
    F.binary_cross_entropy_with_logits(logits, target).backward()
    assert logits.grad is not None


def e303_matrix_product():
    """The columns of the first are not as many as the rows of the second."""
    batch = torch.ones(4, 3)
    weight = torch.ones(2, 5, requires_grad=True)
    batch @ weight


def cure_e303():
    """in_features is the last dimension of the input."""
    batch = torch.ones(4, 3)
    layer = torch.nn.Linear(3, 5)
    layer(batch).sum().backward()
    assert layer.weight.grad.equal(torch.full((5, 3), 4.0))


def e304_sizes_that_do_not_broadcast():
    """4 against 3: neither is 1."""
    prediction = torch.ones(4, requires_grad=True)
    target = torch.ones(3)
    prediction - target


def cure_e304():
    """Every prediction against every target."""
    prediction = torch.ones(4, requires_grad=True)
    target = torch.ones(3)
    difference = prediction.unsqueeze(1) - target
    assert difference.shape == (4, 3)
    difference.sum().backward()
    assert prediction.grad.tolist() == [3, 3, 3, 3]


def e304b_result_larger_than_its_place():
    """An in-place operation cannot make its tensor larger."""
    total = torch.zeros(3)
    batch = torch.ones(2, 3)
    total += batch


def cure_e304b():
    """Reduce the larger one, or make a new tensor."""
    total = torch.zeros(3)
    batch = torch.ones(2, 3)
    total += batch.sum(dim=0)
    assert total.tolist() == [2, 2, 2]


def e305_tensors_on_two_devices():
    """One tensor is elsewhere (the meta device stands for a GPU)."""
    weight = torch.ones(3, requires_grad=True)
    batch = torch.ones(3, device="meta")
    weight * batch


def cure_e305():
    """Move the data to the model."""
    weight = torch.ones(3, requires_grad=True)
    batch = torch.ones(3).to(weight.device)
    assert (weight * batch).requires_grad


def e306_float64_data():
    """NumPy makes float64, a model holds float32."""
    weight = torch.ones(3, 5, requires_grad=True)
    batch = torch.from_numpy(np.ones((4, 3)))
    batch @ weight


def cure_e306():
    """Convert the data."""
    weight = torch.ones(3, 5, requires_grad=True)
    batch = torch.from_numpy(np.ones((4, 3))).float()
    assert (batch @ weight).dtype == torch.float32


def e306b_targets_of_the_wrong_kind():
    """Class numbers are integers."""
    logits = torch.zeros(2, 3, requires_grad=True)
    target = torch.tensor([0.0, 2.0])
    F.cross_entropy(logits, target)


def cure_e306b():
    """Convert them."""
    logits = torch.zeros(2, 3, requires_grad=True)
    target = torch.tensor([0.0, 2.0]).long()
    F.cross_entropy(logits, target).backward()
    assert logits.grad.shape == (2, 3)


def e231_number_of_a_vector():
    """item() needs one element."""
    losses = torch.ones(3)
    losses.item()


def cure_e231():
    """Reduce first."""
    losses = torch.ones(3)
    assert losses.mean().item() == 1


def e232_index_of_a_number():
    """A loss has no dimension to index."""
    loss = torch.tensor(1.0)
    loss[0]


def cure_e232():
    """item() gives the number."""
    loss = torch.tensor(1.0)
    assert loss.item() == 1


def e311_labels_in_the_shape_of_the_logits():
    """A target of that shape holds probabilities, and these are integers."""
    F.cross_entropy(torch.zeros(2, 3), torch.tensor([[1, 0, 0], [0, 0, 1]]))


def cure_e311():
    """One integer a row."""
    target = torch.tensor([[1, 0, 0], [0, 0, 1]])
    value = F.cross_entropy(torch.zeros(2, 3), target.argmax(dim=1))
    assert value.equal(F.cross_entropy(torch.zeros(2, 3), target.float()))


def e311b_class_out_of_bounds():
    """Labels from 1 to 3 for the classes 0 to 2."""
    F.cross_entropy(torch.zeros(2, 3), torch.tensor([1, 3]))


def cure_e311b():
    """Count from 0."""
    target = torch.tensor([1, 3]) - 1
    assert F.cross_entropy(torch.zeros(2, 3), target).isfinite()


def e311c_other_number_of_rows():
    """Three images became two rows of logits: three labels are left."""
    images = torch.zeros(3, 1, 2, 2)
    logits = torch.nn.Linear(6, 3)(images.view(-1, 6))
    F.cross_entropy(logits, torch.tensor([0, 1, 2]))


def cure_e311c():
    """flatten(1) keeps the rows."""
    images = torch.zeros(3, 1, 2, 2)
    logits = torch.nn.Linear(4, 3)(images.flatten(1))
    assert F.cross_entropy(logits, torch.tensor([0, 1, 2])).isfinite()


def e311d_labels_in_a_column():
    """Labels of shape (N, 1)."""
    F.cross_entropy(torch.zeros(2, 3), torch.tensor([[0], [2]]))


def cure_e311d():
    """Labels of shape (N,)."""
    assert F.cross_entropy(torch.zeros(2, 3), torch.tensor([[0], [2]]).squeeze(1)).isfinite()
