"""Agents with memory, experts, networks that make networks, and clients that train apart."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from gradbook import explain
from reports import report


class Recurrent(nn.Module):
    """A policy that remembers."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTMCell(3, 4), nn.Linear(4, 2)
        self.state = None

    def act(self, observation):
        """Logits of the actions."""
        self.state = self.cell(observation, self.state)
        return self.head(self.state[0])


@report(
    "graph-freed",
    "E07b",
    culprit=("policy.state", "policy.state[0]", "policy.state[1]", "self.state"),
    false=("encoder", "two losses"),
    cure="detach()",
)
def agent_that_remembers_over_updates():
    """Recurrent actor-critic: the state of the last rollout enters the next update."""
    policy = Recurrent()
    for _ in range(2):
        log_probs = []
        for _ in range(3):
            logits = policy.act(torch.randn(1, 3))
            log_probs.append(logits.log_softmax(dim=1)[:, 0])
        loss = -torch.cat(log_probs).mean()
        loss.backward()


def cured_agent_that_remembers_over_updates():
    """The state is detached between two updates."""
    policy = Recurrent()
    for _ in range(2):
        log_probs = []
        for _ in range(3):
            logits = policy.act(torch.randn(1, 3))
            log_probs.append(logits.log_softmax(dim=1)[:, 0])
        loss = -torch.cat(log_probs).mean()
        loss.backward()
        policy.state = tuple(one.detach() for one in policy.state)
    assert policy.cell.weight_hh.grad.any()


@report(
    "graph-freed",
    "E07c",
    culprit=("old",),
    false=("carried", "encoder"),
    cure="detach()",
)
def ratio_to_log_probabilities_with_a_graph():
    """Several epochs on one rollout, whose log-probabilities carry the graph of the old policy."""
    policy = nn.Linear(3, 2)
    observations = torch.randn(4, 3)
    old = policy(observations).log_softmax(dim=1)[:, 0]
    for _ in range(2):
        new = policy(observations).log_softmax(dim=1)[:, 0]
        loss = -(new - old).exp().mean()
        loss.backward()


def cured_ratio_to_log_probabilities_with_a_graph():
    """Only their numbers."""
    policy = nn.Linear(3, 2)
    observations = torch.randn(4, 3)
    old = policy(observations).log_softmax(dim=1)[:, 0].detach()
    for _ in range(2):
        new = policy(observations).log_softmax(dim=1)[:, 0]
        loss = -(new - old).exp().mean()
        loss.backward()
    assert policy.weight.grad.any()


@report(
    "modified-in-place",
    "E40b",
    culprit=("critic.0.weight", "critic.2.weight"),
    false=("row by row", "Distributed", "inplace=True", "Embedding"),
    cure="Run the stepped model again",
)
def actor_loss_from_before_the_critic_step():
    """One pass through the critic serves both losses; the critic steps in between."""
    actor = nn.Linear(3, 1)
    critic = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))
    critic_optimizer = torch.optim.Adam(critic.parameters())
    observations = torch.randn(4, 3)
    values = critic(torch.cat([observations, actor(observations)], dim=1))
    critic_loss = (values - 1).square().mean()
    actor_loss = -values.mean()
    critic_loss.backward(retain_graph=True)
    critic_optimizer.step()
    actor_loss.backward()


def cured_actor_loss_from_before_the_critic_step():
    """Run again after the step; the first pass gets the actions without graph."""
    actor = nn.Linear(3, 1)
    critic = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))
    critic_optimizer = torch.optim.Adam(critic.parameters())
    observations = torch.randn(4, 3)
    actions = actor(observations)
    values = critic(torch.cat([observations, actions.detach()], dim=1))
    (values - 1).square().mean().backward()
    critic_optimizer.step()
    (-critic(torch.cat([observations, actions], dim=1)).mean()).backward()
    assert actor.weight.grad is not None


class Experts(nn.Module):
    """The gate chooses, and only its choice is used."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(3, 2)
        self.experts = nn.ModuleList([nn.Linear(3, 1), nn.Linear(3, 1)])

    def forward(self, x):
        """What the chosen expert says, row by row."""
        chosen = self.gate(x).topk(1, dim=1).indices
        every = torch.cat([expert(x) for expert in self.experts], dim=1)
        return every.gather(1, chosen)


class Weighted(Experts):
    """What the gate says counts too."""

    def forward(self, x):
        """What the chosen expert says, times its probability."""
        values, chosen = self.gate(x).softmax(dim=1).topk(1, dim=1)
        every = torch.cat([expert(x) for expert in self.experts], dim=1)
        return every.gather(1, chosen) * values


@report(
    "some-not-reached",
    culprit=("gate.weight", "gate.bias"),
    false=("not reached: `experts`", "no_grad` in"),
    cure="values that stand beside the indices",
)
def experts_chosen_by_index_only():
    """davidmrau/mixture-of-experts#11: the gate is never trained."""
    model = Experts()
    loss = model(torch.randn(6, 3)).square().mean()
    return model, loss


def cured_experts_chosen_by_index_only():
    """The values count."""
    model = Weighted()
    model(torch.randn(6, 3)).square().mean().backward()
    assert model.gate.weight.grad.any()


@report(
    "no-graph",
    "E01c",
    culprit=("chosen", "load", "logits", "balance"),
    false=("frozen", "no_grad`"),
    cure="",
)
def balance_of_experts_by_counting():
    """huggingface/transformers#28093: how often each expert is chosen is a count."""
    gate = nn.Linear(3, 4)
    logits = gate(torch.randn(8, 3))
    chosen = logits.argmax(dim=1)
    load = F.one_hot(chosen, 4).float().mean(dim=0)
    balance = (load * load).sum() * 4
    balance.backward()


def cured_balance_of_experts_by_counting():
    """Counts times probabilities."""
    gate = nn.Linear(3, 4)
    logits = gate(torch.randn(8, 3))
    chosen = logits.argmax(dim=1)
    load = F.one_hot(chosen, 4).float().mean(dim=0)
    balance = (load * logits.softmax(dim=1).mean(dim=0)).sum() * 4
    balance.backward()
    assert gate.weight.grad.any()


@report(
    "tensor-over-parameter",
    "E24",
    culprit=("target.weight",),
    false=("optimizer",),
    cure="functional_call",
)
def weights_made_by_another_network():
    """A hypernetwork: what it makes is assigned to the layer."""
    hyper, target = nn.Linear(2, 3), nn.Linear(3, 1, bias=False)
    target.weight = hyper(torch.ones(1, 2))
    target(torch.ones(4, 3)).sum().backward()


def cured_weights_made_by_another_network():
    """Given to the call."""
    hyper, target = nn.Linear(2, 3), nn.Linear(3, 1, bias=False)
    weight = hyper(torch.ones(1, 2))
    torch.func.functional_call(target, {"weight": weight}, torch.ones(4, 3)).sum().backward()
    assert hyper.weight.grad.any()


@report(
    "nothing-reached",
    culprit=("weight", "bias"),
    false=("`target", "no_grad`"),
    cure="",
)
def weights_written_into_data():
    """A hypernetwork again: `.data` takes the numbers, and the graph stays behind."""
    hyper, target = nn.Linear(2, 3), nn.Linear(3, 1, bias=False)
    target.weight.data = hyper(torch.ones(1, 2))
    loss = target(torch.ones(4, 3)).sum()
    return hyper, loss


def cured_weights_written_into_data():
    """The loss is computed from what it made."""
    hyper = nn.Linear(2, 3)
    F.linear(torch.ones(4, 3), hyper(torch.ones(1, 2))).sum().backward()
    assert hyper.weight.grad.any()


@report(
    "optimizer-non-leaf",
    culprit=("task",),
    false=("no_grad",),
    cure="requires_grad_()",
)
def optimizer_over_an_embedding_that_is_scaled():
    """The task vector was scaled after it was asked to require grad."""
    task = torch.randn(4, requires_grad=True) * 0.01
    torch.optim.Adam([task])


def cured_optimizer_over_an_embedding_that_is_scaled():
    """Asked for at the end."""
    task = (torch.randn(4) * 0.01).requires_grad_()
    assert torch.optim.Adam([task]).param_groups[0]["params"][0] is task


def take_over(model, arrays):
    """Write what the server sent into the model."""
    for parameter, array in zip(model.parameters(), arrays, strict=True):
        parameter.copy_(torch.from_numpy(array))


@report(
    "leaf-in-place",
    "E22",
    culprit=("parameter", "model.weight", "client.weight"),
    false=("mark_dirty", "differentiable"),
    cure="no_grad",
)
def client_takes_the_weights_over():
    """flwrlabs/flower#3084: weights from the server are copied in while autograd records."""
    client = nn.Linear(2, 1)
    take_over(client, [one.detach().numpy() + 1 for one in client.parameters()])


def cured_client_takes_the_weights_over():
    """Unrecorded."""
    client = nn.Linear(2, 1)
    arrays = [one.detach().numpy() + 1 for one in client.parameters()]
    with torch.no_grad():
        take_over(client, arrays)
    assert client.bias.detach().numpy() == arrays[1]


@report(
    "not-in-optimizer",
    culprit=("weight", "bias"),
    false=("zero",),
    cure="Build the optimizer after",
)
def client_steps_the_model_of_the_last_round():
    """OpenMined/PySyft#2268: a new copy each round, and the optimizer of the first."""
    server = nn.Linear(2, 1)
    client = copy.deepcopy(server)
    optimizer = torch.optim.SGD(client.parameters(), lr=0.1)
    client = copy.deepcopy(server)
    client(torch.ones(3, 2)).sum().backward()
    optimizer.step()
    return explain(client)


def cured_client_steps_the_model_of_the_last_round():
    """Built for this copy."""
    server = nn.Linear(2, 1)
    client = copy.deepcopy(server)
    optimizer = torch.optim.SGD(client.parameters(), lr=0.1)
    client(torch.ones(3, 2)).sum().backward()
    optimizer.step()
    assert not client.weight.equal(server.weight)


@report(
    "gradients-not-finite",
    culprit=("weight", "bias"),
    false=("optimizer", "zero everywhere"),
    cure="replay(loss)",
)
def proximal_term_at_its_own_center():
    """FedProx with a norm by hand: at the first step both models are equal."""
    server = nn.Linear(2, 1)
    client = copy.deepcopy(server)
    pairs = zip(client.parameters(), server.parameters(), strict=True)
    distance = sum((mine - theirs.detach()).square().sum() for mine, theirs in pairs).sqrt()
    loss = client(torch.ones(3, 2)).sum() + 0.1 * distance
    loss.backward()
    return client


def cured_proximal_term_at_its_own_center():
    """The operation is the root: the squared distance has a slope at zero."""
    server = nn.Linear(2, 1)
    client = copy.deepcopy(server)
    pairs = zip(client.parameters(), server.parameters(), strict=True)
    distance = sum((mine - theirs.detach()).square().sum() for mine, theirs in pairs)
    loss = client(torch.ones(3, 2)).sum() + 0.1 * distance
    loss.backward()
    assert client.weight.grad.isfinite().all()


class Memory(nn.Module):
    """Remembers each node of a graph."""

    def __init__(self):
        super().__init__()
        self.update, self.read = nn.GRUCell(2, 3), nn.Linear(3, 1)
        self.nodes = {}

    def forward(self, node, message):
        """The new memory of a node, and what it says."""
        self.nodes[node] = self.update(message, self.nodes.get(node, torch.zeros(1, 3)))
        return self.read(self.nodes[node])


@report(
    "graph-freed",
    "E07b",
    culprit=("memory.nodes[0]", "self.nodes[0]"),
    false=("encoder", "two losses"),
    cure="detach()",
)
def temporal_graph_remembers_its_nodes():
    """memgraph/mage#121: the memory of a node is a tensor with a graph, in a dict."""
    memory = Memory()
    for _ in range(2):
        loss = memory(0, torch.ones(1, 2)).sum()
        loss.backward()


def cured_temporal_graph_remembers_its_nodes():
    """Detached after each batch."""
    memory = Memory()
    for _ in range(2):
        loss = memory(0, torch.ones(1, 2)).sum()
        loss.backward()
        memory.nodes = {node: one.detach() for node, one in memory.nodes.items()}
    assert memory.update.weight_hh.grad is not None


@report(
    "view-of-leaf-in-place",
    culprit=("adjacency",),
    false=("optimizer",),
    cure="no_grad",
)
def adjacency_gets_its_self_loops():
    """A learned adjacency matrix, and ones on its diagonal."""
    adjacency = nn.Parameter(torch.rand(3, 3))
    adjacency.diagonal().fill_(1.0)


def cured_adjacency_gets_its_self_loops():
    """An initialisation is not recorded."""
    adjacency = nn.Parameter(torch.rand(3, 3))
    with torch.no_grad():
        adjacency.diagonal().fill_(1.0)
    assert adjacency.diagonal().tolist() == [1, 1, 1]
