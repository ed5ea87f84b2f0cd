"""Contrastive learning, distillation, domain adaptation, recommenders, metric learning."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from reports import report


class Momentum(nn.Module):
    """A query encoder, its moving average, and a queue of keys."""

    def __init__(self):
        super().__init__()
        self.query, self.key = nn.Linear(4, 3), nn.Linear(4, 3)
        self.register_buffer("queue", F.normalize(torch.randn(6, 3), dim=1))
        self.pointer = 0

    def forward(self, x):
        """The new keys replace old ones before the loss is run backward."""
        q = F.normalize(self.query(x), dim=1)
        with torch.no_grad():
            k = F.normalize(self.key(x), dim=1)
        logits = q @ self.queue.T
        self.enqueue(k)
        return logits

    @torch.no_grad()
    def enqueue(self, keys):
        """First in, first out."""
        self.queue[self.pointer : self.pointer + len(keys)] = keys
        self.pointer = (self.pointer + len(keys)) % len(self.queue)


@report(
    "modified-in-place",
    ("E213"),
    culprit=("model.queue", "self.queue"),
    false=("Distributed", "step()", "inplace=True", "row by row", "Two passes"),
    cure="clone()",
)
def queue_of_keys_is_changed_before_backward():
    """A frequent report on momentum contrast: the queue is part of the product."""
    torch.manual_seed(0)
    model = Momentum()
    logits = model(torch.randn(2, 4))
    loss = F.cross_entropy(logits, torch.zeros(2, dtype=torch.long))
    loss.backward()


def cured_queue_of_keys_is_changed_before_backward():
    """The product reads a copy."""
    model = Momentum()
    q = F.normalize(model.query(torch.randn(2, 4)), dim=1)
    logits = q @ model.queue.clone().T
    model.enqueue(F.normalize(torch.randn(2, 3), dim=1))
    F.cross_entropy(logits, torch.zeros(2, dtype=torch.long)).backward()
    assert model.query.weight.grad is not None


class Adapter:
    """Domain adaptation: features, a classifier and a judge of domains, with two optimizers."""

    def __init__(self):
        self.features, self.classifier, self.judge = (
            nn.Linear(4, 3),
            nn.Linear(3, 2),
            nn.Linear(3, 1),
        )
        self.f_optimizer = torch.optim.SGD(
            [*self.features.parameters(), *self.classifier.parameters()], lr=0.1
        )
        self.d_optimizer = torch.optim.SGD(self.judge.parameters(), lr=0.1)

    def losses(self, x, y):
        """Both from one forward pass."""
        hidden = self.features(x).relu()
        domain = self.judge(hidden).mean()
        return F.cross_entropy(self.classifier(hidden), y) - domain, domain

    def step(self, x, y):
        """The first optimizer steps before the second backward."""
        f_loss, d_loss = self.losses(x, y)
        self.d_optimizer.zero_grad()
        d_loss.backward(retain_graph=True)
        self.d_optimizer.step()
        self.f_optimizer.zero_grad()
        f_loss.backward()
        self.f_optimizer.step()


@report(
    "modified-in-place",
    "E40b",
    culprit=("self.judge.weight", "adapter.judge.weight"),
    false=("f_optimizer.step", "inplace=True", "row by row", "`adapter.step"),
    cure="then the steps",
)
def judge_steps_before_the_features():
    """EasonApolo/mstn#7: [1024, 1], output 0 of AsStridedBackward0, with retain_graph=True."""
    adapter = Adapter()
    adapter.step(torch.randn(5, 4), torch.zeros(5, dtype=torch.long))


def cured_judge_steps_before_the_features():
    """All backward passes first, each with its own inputs, then the steps."""
    a = Adapter()
    f_loss, d_loss = a.losses(torch.randn(5, 4), torch.zeros(5, dtype=torch.long))
    d_loss.backward(retain_graph=True, inputs=list(a.judge.parameters()))
    f_loss.backward(inputs=[*a.features.parameters(), *a.classifier.parameters()])
    a.d_optimizer.step()
    a.f_optimizer.step()


@report(
    "no-graph",
    "E01c",
    culprit=("nearest", "positives", "loss", "order"),
    false=("no_grad", "frozen"),
    cure="values that stand beside the indices",
)
def nearest_neighbours_by_index():
    """A frequent report on metric learning: the loss is made of positions, not of distances."""
    encoder = nn.Linear(4, 2)
    z = encoder(torch.randn(6, 4))
    distances = torch.cdist(z, z)
    nearest = distances.topk(2, dim=1, largest=False).indices
    loss = (nearest[:, 1] != torch.arange(6).roll(1)).float().mean()
    loss.backward()


def cured_nearest_neighbours_by_index():
    """The values beside the indices."""
    encoder = nn.Linear(4, 2)
    z = encoder(torch.randn(6, 4))
    values = torch.cdist(z, z).topk(2, dim=1, largest=False).values
    values[:, 1].mean().backward()
    assert encoder.weight.grad is not None


class Recommender(nn.Module):
    """Factors of users and items, items with a largest norm."""

    def __init__(self):
        super().__init__()
        self.users, self.items = nn.Embedding(4, 3), nn.Embedding(5, 3, max_norm=1.0)

    def scores(self, user, item):
        """A score against all items, and one item's norm."""
        every = self.users(user) @ self.items.weight.T
        chosen = self.items(item)
        return every, chosen


@report(
    "modified-in-place",
    "E40d",
    culprit=("model.items.weight", "self.items.weight"),
    false=("step()", "row by row", "Distributed"),
    cure="weight.clone()",
)
def items_are_rescaled_between_the_uses():
    """A frequent report on recommenders: max_norm rescales the weight that a product saved."""
    torch.manual_seed(0)
    model = Recommender()
    with torch.no_grad():
        model.items.weight.mul_(10)
    every, chosen = model.scores(torch.tensor([1]), torch.tensor([2]))
    loss = every.logsumexp(1).mean() - chosen.mean()
    loss.backward()


def cured_items_are_rescaled_between_the_uses():
    """A copy where the weight is used outside of the module."""
    model = Recommender()
    with torch.no_grad():
        model.items.weight.mul_(10)
    every = model.users(torch.tensor([1])) @ model.items.weight.clone().T
    loss = every.logsumexp(1).mean() - model.items(torch.tensor([2])).mean()
    loss.backward()


class Distiller(nn.Module):
    """A student learns from its teacher's logits."""

    def __init__(self):
        super().__init__()
        self.student = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        self.teacher = copy.deepcopy(self.student)

    def forward(self, x):
        """The student's answer is taken out of the graph instead of the teacher's."""
        wanted = F.softmax(self.teacher(x), dim=1)
        given = F.log_softmax(self.student(x).detach(), dim=1)
        return F.kl_div(given, wanted, reduction="batchmean")


@report(
    "some-not-reached",
    culprit=("student",),
    false=("teacher` is not", "no_grad()`"),
    cure="Leave out `detach()`",
)
def student_is_detached_instead_of_the_teacher():
    """A frequent report on distillation: the loss falls for another reason, the student stays."""
    model = Distiller()
    loss = model(torch.randn(2, 4))
    return model, loss


def cured_student_is_detached_instead_of_the_teacher():
    """Without the detach the student is reached."""
    model = Distiller()
    x = torch.randn(2, 4)
    wanted = F.softmax(model.teacher(x), dim=1)
    F.kl_div(F.log_softmax(model.student(x), dim=1), wanted, reduction="batchmean").backward()
    assert model.student[0].weight.grad is not None


class Pooler(nn.Module):
    """Two pooling layers of a graph network, of which training uses one."""

    def __init__(self):
        super().__init__()
        self.node_score, self.edge_score = nn.Linear(3, 1), nn.Linear(3, 1)
        self.readout = nn.Linear(3, 2)

    def forward(self, nodes):
        """The scores only choose rows."""
        keep = self.node_score(nodes).squeeze(1).topk(2).indices
        return self.readout(nodes[keep].mean(0))


@report(
    "some-not-reached",
    culprit=("node_score",),
    false=("through `detach()`", "switches recording off", "derivative. So"),
    cure="values that stand beside the indices",
)
def pooling_by_the_positions_of_scores():
    """pytorch/pytorch#40983: the parameters of the pooling layers remain as they are."""
    model = Pooler()
    logits = model(torch.rand(5, 3))
    loss = logits.square().sum()
    return model, loss


def cured_pooling_by_the_positions_of_scores():
    """The values weigh the rows."""
    model = Pooler()
    nodes = torch.rand(5, 3)
    top = model.node_score(nodes).squeeze(1).topk(2)
    model.readout((nodes[top.indices] * top.values[:, None]).mean(0)).square().sum().backward()
    assert model.node_score.weight.grad is not None


@report(
    "leaf-in-place",
    culprit=("text", "prompt"),
    false=("differentiable=True", "mark_dirty"),
    cure="`text = text + positions`, a new tensor",
)
def prompt_gets_a_position_added():
    """NVlabs/VILA#199: `text_embeds += ...` on a learned prompt."""
    prompt = nn.Parameter(torch.zeros(4, 3))
    positions = torch.rand(4, 3)
    text = prompt
    text += positions
    text.sum().backward()


def cured_prompt_gets_a_position_added():
    """A new tensor."""
    prompt = nn.Parameter(torch.zeros(4, 3))
    text = prompt + torch.rand(4, 3)
    text.sum().backward()
    assert prompt.grad is not None
