"""Teachers, contrastive pairs, quantized weights, detectors, transducers, cells that grow."""

import torch
import torch.nn.functional as F
from torch import nn

from reports import report


@report(
    "no-graph",
    "E01c",
    culprit=("student_logits", "logits", "student"),
    false=("frozen", "no_grad`"),
    cure="clone()",
)
def distillation_on_a_copy_of_the_logits():
    """IntelLabs/distiller#234: `new_tensor` copies the numbers."""
    teacher, student = nn.Linear(3, 2), nn.Linear(3, 2)
    x = torch.randn(4, 3)
    with torch.no_grad():
        wanted = teacher(x).softmax(dim=1)
    logits = student(x)
    student_logits = logits.new_tensor(logits)
    loss = F.kl_div(student_logits.log_softmax(dim=1), wanted, reduction="batchmean")
    loss.backward()


def cured_distillation_on_a_copy_of_the_logits():
    """clone() stays in the graph."""
    teacher, student = nn.Linear(3, 2), nn.Linear(3, 2)
    x = torch.randn(4, 3)
    with torch.no_grad():
        wanted = teacher(x).softmax(dim=1)
    student_logits = student(x).clone()
    loss = F.kl_div(student_logits.log_softmax(dim=1), wanted, reduction="batchmean")
    loss.backward()
    assert student.weight.grad.any()


@report(
    "inference-tensor-in-graph",
    culprit=("wanted",),
    false=("optimizer", "detach()"),
    cure="clone()",
)
def teacher_in_inference_mode():
    """What the teacher says is multiplied with what the student says."""
    teacher, student = nn.Linear(3, 2), nn.Linear(3, 2)
    x = torch.randn(4, 3)
    with torch.inference_mode():
        wanted = teacher(x).softmax(dim=1)
    loss = -(wanted * student(x).log_softmax(dim=1)).sum()
    loss.backward()


def cured_teacher_in_inference_mode():
    """A clone is a normal tensor."""
    teacher, student = nn.Linear(3, 2), nn.Linear(3, 2)
    x = torch.randn(4, 3)
    with torch.inference_mode():
        wanted = teacher(x).softmax(dim=1)
    loss = -(wanted.clone() * student(x).log_softmax(dim=1)).sum()
    loss.backward()
    assert student.weight.grad.any()


@report(
    "leaf-in-place",
    "E22",
    culprit=("slow", "teacher.weight"),
    false=("mark_dirty", "differentiable"),
    cure="no_grad",
)
def mean_teacher_follows_the_student():
    """The average of the weights is updated while autograd records."""
    teacher, student = nn.Linear(3, 2), nn.Linear(3, 2)
    for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
        slow.mul_(0.99).add_(fast, alpha=0.01)


def cured_mean_teacher_follows_the_student():
    """Unrecorded."""
    teacher, student = nn.Linear(3, 2), nn.Linear(3, 2)
    before = teacher.weight.detach().clone()
    with torch.no_grad():
        for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
            slow.mul_(0.99).add_(fast, alpha=0.01)
    assert not teacher.weight.equal(before)


class Queue(nn.Module):
    """Contrasts with what came before."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(3, 2)
        self.register_buffer("queue", torch.randn(2, 6))

    @torch.no_grad()
    def enqueue(self, keys):
        """Overwrite the oldest."""
        self.queue[:, : len(keys)] = keys.T

    def forward(self, x):
        """Logits against the queue."""
        query = self.encoder(x)
        logits = query @ self.queue
        self.enqueue(query)
        return logits


class Copied(Queue):
    """Contrasts with a copy of the queue."""

    def forward(self, x):
        """Logits against the queue."""
        query = self.encoder(x)
        logits = query @ self.queue.clone()
        self.enqueue(query)
        return logits


@report(
    "modified-in-place",
    "E213",
    culprit=("model.queue", "self.queue"),
    false=("optimizer.step", "Distributed", "Embedding", "row by row", "Two passes"),
    cure="self.queue.clone()",
)
def queue_of_keys_overwritten_before_backward():
    """Momentum contrast: the forward pass enqueues the new keys, and has saved the queue."""
    model = Queue()
    loss = model(torch.randn(2, 3)).logsumexp(dim=1).mean()
    loss.backward()


def cured_queue_of_keys_overwritten_before_backward():
    """A clone is saved."""
    model = Copied()
    model(torch.randn(2, 3)).logsumexp(dim=1).mean().backward()
    assert model.encoder.weight.grad.any()


@report(
    "modified-in-place",
    "E40",
    culprit=("similar",),
    false=("optimizer", "Distributed", "row by row"),
    cure="`similar = similar.clone()` before",
)
def contrast_without_the_diagonal():
    """exp() has kept its result, and its diagonal is set to zero."""
    encoder = nn.Linear(3, 2)
    z = encoder(torch.randn(4, 3))
    similar = (z @ z.T).exp()
    similar.fill_diagonal_(0.0)
    loss = similar.sum(dim=1).log().mean()
    loss.backward()


def cured_contrast_without_the_diagonal():
    """A new tensor."""
    encoder = nn.Linear(3, 2)
    z = encoder(torch.randn(4, 3))
    similar = (z @ z.T).exp()
    similar = similar.clone()
    similar.fill_diagonal_(0.0)
    loss = similar.sum(dim=1).log().mean()
    loss.backward()
    assert encoder.weight.grad.any()


class Pair(nn.Module):
    """Two towers and a temperature."""

    def __init__(self):
        super().__init__()
        self.image, self.text = nn.Linear(3, 2), nn.Linear(4, 2)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))


@report(
    "leaf-in-place",
    "E22",
    culprit=("model.logit_scale",),
    false=("mark_dirty", "differentiable"),
    cure="no_grad",
)
def temperature_is_clamped():
    """After each step the temperature is kept below 100, while autograd records."""
    model = Pair()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    logits = model.image(torch.randn(2, 3)) @ model.text(torch.randn(2, 4)).T
    F.cross_entropy(model.logit_scale.exp() * logits, torch.arange(2)).backward()
    optimizer.step()
    model.logit_scale.clamp_(0, 4.6)


def cured_temperature_is_clamped():
    """Unrecorded."""
    model = Pair()
    with torch.no_grad():
        model.logit_scale.clamp_(0, 1.0)
    assert model.logit_scale == 1


class Rounded(nn.Module):
    """Whole numbers in the forward pass."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3))
        self.step = nn.Parameter(torch.tensor(0.1))

    def forward(self, x):
        """Weights on a grid."""
        return (x * torch.round(self.weight / self.step) * self.step).sum()


@report(
    "gradients-zero",
    culprit=("weight",),
    false=("zero in `weight`, `step`", "optimizer"),
    cure="`round()`",
)
def quantization_aware_without_straight_through():
    """Rounding has the slope zero: only the step size learns."""
    model = Rounded()
    model(torch.ones(3)).backward()
    return model


def cured_quantization_aware_without_straight_through():
    """Past the rounding."""
    model = Rounded()
    scaled = model.weight / model.step
    rounded = scaled + (scaled.round() - scaled).detach()
    (rounded * model.step).sum().backward()
    assert model.weight.grad.all()


class PerChannel(torch.autograd.Function):
    """One scale a channel, and a gradient for every number."""

    @staticmethod
    def forward(ctx, weight, scale):
        """On a grid."""
        ctx.save_for_backward(weight, scale)
        return (weight / scale[:, None]).round() * scale[:, None]

    @staticmethod
    def backward(ctx, gradient):
        """Straight through, and by the scale."""
        weight, scale = ctx.saved_tensors
        steps = weight / scale[:, None]
        return gradient, gradient * (steps.round() - steps)


class PerChannelSummed(PerChannel):
    """One gradient a channel."""

    @staticmethod
    def backward(ctx, gradient):
        """As above, summed."""
        weight, scale = ctx.saved_tensors
        steps = weight / scale[:, None]
        return gradient, (gradient * (steps.round() - steps)).sum(dim=1)


@report(
    "function-gradient-shape",
    culprit=("scale",),
    false=("`weight`", ".data", "broadcast"),
    cure="gradient of shape (2) for `scale`",
)
def one_scale_for_each_channel():
    """The scale is broadcast over a channel, its gradient is not summed."""
    weight, scale = nn.Parameter(torch.randn(2, 3)), nn.Parameter(torch.ones(2))
    PerChannel.apply(weight, scale).square().sum().backward()


def cured_one_scale_for_each_channel():
    """Summed."""
    weight, scale = nn.Parameter(torch.randn(2, 3)), nn.Parameter(torch.ones(2))
    PerChannelSummed.apply(weight, scale).square().sum().backward()
    assert scale.grad.shape == (2,)


@report(
    "integer-requires-grad",
    "E20c",
    culprit=("packed",),
    false=("factory", "arange", "`nn.Module"),
    cure="register_buffer",
)
def packed_weights_as_a_parameter():
    """Eight-bit weights are stored as a parameter."""
    packed = (torch.randn(3) * 10).to(torch.int8)
    layer = nn.Module()
    layer.weight = nn.Parameter(packed)


def cured_packed_weights_as_a_parameter():
    """A buffer."""
    packed = (torch.randn(3) * 10).to(torch.int8)
    layer = nn.Module()
    layer.register_buffer("weight", packed)
    assert "weight" in layer.state_dict()


class Head(nn.Module):
    """Boxes on a grid."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(2, 4, 1)

    def forward(self, x):
        """Centers are moved to their cell."""
        raw = self.convolution(x).permute(0, 2, 3, 1)
        centers = raw[..., :2].sigmoid()
        centers += torch.ones(2)
        return torch.cat([centers, raw[..., 2:].exp()], dim=-1)


@report(
    "modified-in-place",
    "E40",
    culprit=("centers",),
    false=("optimizer", "Distributed", "row by row"),
    cure="instead of",
)
def detector_moves_its_centers():
    """sigmoid() has kept its result; the offset of the grid is added in place."""
    head = Head()
    boxes = head(torch.randn(1, 2, 3, 3))
    loss = (boxes - 1).abs().mean()
    loss.backward()


def cured_detector_moves_its_centers():
    """A new tensor."""
    convolution = nn.Conv2d(2, 4, 1)
    raw = convolution(torch.randn(1, 2, 3, 3)).permute(0, 2, 3, 1)
    centers = raw[..., :2].sigmoid()
    centers = centers + torch.ones(2)
    (centers - 1).abs().mean().backward()
    assert convolution.weight.grad.any()


@report(
    "no-graph",
    "E01c",
    culprit=("found", "scores", "kept", "loss"),
    false=("frozen", "no_grad`"),
    cure="",
)
def detector_counts_what_it_found():
    """The number of boxes above a threshold is no function with a slope."""
    head = nn.Linear(3, 1)
    scores = head(torch.randn(6, 3)).sigmoid()
    found = (scores > 0.5).float().sum()
    loss = (found - 2.0).abs()
    loss.backward()


def cured_detector_counts_what_it_found():
    """The expected number has one."""
    head = nn.Linear(3, 1)
    scores = head(torch.randn(6, 3)).sigmoid()
    loss = (scores.sum() - 2.0).abs()
    loss.backward()
    assert head.weight.grad.any()


@report(
    "numpy-needs-detach",
    culprit=("log_probabilities",),
    false=("inference",),
    cure="detach()",
)
def transcript_read_with_numpy():
    """Connectionist temporal classification, and a decoder in NumPy beside the loss."""
    encoder = nn.Linear(3, 4)
    log_probabilities = encoder(torch.randn(5, 1, 3)).log_softmax(dim=2)
    return log_probabilities.numpy().argmax(axis=2)


def cured_transcript_read_with_numpy():
    """To look at values."""
    encoder = nn.Linear(3, 4)
    log_probabilities = encoder(torch.randn(5, 1, 3)).log_softmax(dim=2)
    assert log_probabilities.detach().cpu().numpy().argmax(axis=2).shape == (5, 1)


def lattice(stay, move):
    """Forward probabilities of a transducer, in a table."""
    alphas = torch.zeros(3, 3)
    alphas[0, :] = 1.0
    for t in range(1, 3):
        for u in range(1, 3):
            alphas[t, u] = alphas[t - 1, u] * stay[t, u] + alphas[t, u - 1] * move[t, u]
    return alphas[-1, -1]


@report(
    "modified-in-place",
    "E40c",
    culprit=("alphas",),
    false=("optimizer", "Distributed", "Embedding"),
    cure="in a list",
)
def transducer_lattice_in_a_table():
    """Each entry is read by the next, and the table is written on."""
    joint = nn.Linear(2, 2)
    scores = joint(torch.randn(3, 3, 2)).softmax(dim=2)
    loss = -lattice(scores[..., 0], scores[..., 1]).log()
    loss.backward()


def cured_transducer_lattice_in_a_table():
    """Lists, and one stack at the end."""
    joint = nn.Linear(2, 2)
    scores = joint(torch.randn(3, 3, 2)).softmax(dim=2)
    above = [torch.ones(()) for _ in range(3)]
    for t in range(1, 3):
        row = [torch.zeros(())]
        for u in range(1, 3):
            row.append(above[u] * scores[t, u, 0] + row[u - 1] * scores[t, u, 1])
        above = row
    (-torch.stack(above)[-1].log()).backward()
    assert joint.weight.grad.any()


@report(
    "graph-freed",
    "E07b",
    culprit=("pool",),
    false=("encoder", "two losses"),
    cure="detach()",
)
def cells_grow_in_a_pool():
    """Neural cellular automata: what has grown goes back to the pool with its graph."""
    rule = nn.Linear(2, 2)
    pool = torch.zeros(4, 2)
    for step in range(3):
        cells = pool[:2] + rule(pool[:2] + 1)
        loss = cells.square().mean() + step
        loss.backward()
        pool = torch.cat([cells, pool[2:]])


def cured_cells_grow_in_a_pool():
    """Only the numbers go back."""
    rule = nn.Linear(2, 2)
    pool = torch.zeros(4, 2)
    for step in range(3):
        pool = pool.detach()
        cells = pool[:2] + rule(pool[:2] + 1)
        loss = cells.square().mean() + step
        loss.backward()
        pool = torch.cat([cells, pool[2:]])
    assert rule.weight.grad.any()


@report(
    "modified-in-place",
    "E40",
    culprit=("cells",),
    false=("optimizer", "Distributed", "row by row"),
    cure="`cells = cells * (growth > 0).float()` instead of",
)
def cells_that_die_where_they_lie():
    """The convolution has kept the cells, and dead ones are set to zero in place."""
    rule = nn.Conv2d(1, 1, 3, padding=1)
    cells = rule(torch.rand(1, 1, 4, 4))
    grown = 0.0
    for _ in range(2):
        growth = rule(cells)
        grown = grown + growth.square().mean()
        cells *= (growth > 0).float()
    grown.backward()


def cured_cells_that_die_where_they_lie():
    """New cells."""
    rule = nn.Conv2d(1, 1, 3, padding=1)
    cells = rule(torch.rand(1, 1, 4, 4))
    grown = 0.0
    for _ in range(2):
        growth = rule(cells)
        grown = grown + growth.square().mean()
        cells = cells * (growth > 0).float()
    grown.backward()
    assert rule.weight.grad is not None
