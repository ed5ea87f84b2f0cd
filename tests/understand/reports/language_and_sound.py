"""Language models, speech, tagging, retrieval, games."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Categorical

from reports import report


class LanguageModel(nn.Module):
    """An LSTM over words; the caller keeps the state."""

    def __init__(self):
        super().__init__()
        self.embed, self.rnn = nn.Embedding(7, 4), nn.LSTM(4, 5, batch_first=True)
        self.head = nn.Linear(5, 7)

    def forward(self, words, state):
        """Scores of the next words, and the state."""
        out, state = self.rnn(self.embed(words), state)
        return self.head(out), state


def batches():
    """Three pieces of one text."""
    words = torch.arange(18) % 7
    return [(words[i : i + 5][None], words[i + 1 : i + 6][None]) for i in (0, 5, 10)]


@report(
    "graph-freed",
    "E07b",
    culprit=("state", "state[0]"),
    false=("before the loop", "two losses"),
    cure="tuple(one.detach() for one in state)",
)
def language_model_without_repackaging():
    """A frequent report: the hidden state of the last piece still has its graph."""
    model, state = LanguageModel(), None
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for words, following in batches():
        optimizer.zero_grad()
        scores, state = model(words, state)
        loss = F.cross_entropy(scores.flatten(0, 1), following.flatten())
        loss.backward()
        optimizer.step()


def cured_language_model_without_repackaging():
    """Detached after backward."""
    model, state = LanguageModel(), None
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for words, following in batches():
        optimizer.zero_grad()
        scores, state = model(words, state)
        F.cross_entropy(scores.flatten(0, 1), following.flatten()).backward()
        state = tuple(one.detach() for one in state)
        optimizer.step()


@report(
    "no-graph",
    "E01c",
    culprit=("edits", "predicted", "guess"),
    false=("no_grad", "frozen"),
    cure="derivative",
)
def speech_scored_by_its_errors():
    """A frequent report on speech: the loss is a count of wrong letters."""
    encoder = nn.Linear(4, 6)
    scores = encoder(torch.randn(1, 9, 4))
    guess = scores.argmax(-1)
    edits = (guess != torch.ones(1, 9, dtype=torch.long)).float()
    loss = edits.mean()
    loss.backward()


def cured_speech_scored_by_its_errors():
    """A loss with a derivative."""
    encoder = nn.Linear(4, 6)
    scores = encoder(torch.randn(1, 9, 4))
    F.cross_entropy(scores.flatten(0, 1), torch.ones(9, dtype=torch.long)).backward()
    assert encoder.weight.grad is not None


def forward_algorithm(emissions, transitions):
    """Scores of all paths; the first row is overwritten in place."""
    alpha = emissions[0].exp()
    for emission in emissions[1:]:
        alpha *= (alpha @ transitions.exp()) * emission.exp()
    return alpha.sum().log()


@report(
    "modified-in-place",
    "E40",
    culprit="alpha",
    false=("inplace=True", "Distributed"),
    cure="`y = y + 1` instead of",
)
def tagger_multiplies_in_place():
    """A frequent report on taggers: the forward algorithm in a function, with `*=`."""
    transitions = torch.zeros(3, 3, requires_grad=True)
    emissions = torch.randn(4, 3, requires_grad=True)
    loss = forward_algorithm(emissions, transitions)
    loss.backward()


def cured_tagger_multiplies_in_place():
    """A new tensor in each step."""
    transitions = torch.zeros(3, 3, requires_grad=True)
    emissions = torch.randn(4, 3, requires_grad=True)
    alpha = emissions[0].exp()
    for emission in emissions[1:]:
        alpha = alpha * ((alpha @ transitions.exp()) * emission.exp())
    alpha.sum().log().backward()
    assert transitions.grad is not None


class Summarizer(nn.Module):
    """Chooses sentences by drawing them."""

    def __init__(self):
        super().__init__()
        self.score, self.read = nn.Linear(4, 1), nn.Linear(4, 2)
        self.read.requires_grad_(False)

    def forward(self, sentences):
        """The draw is an index."""
        chosen = Categorical(logits=self.score(sentences)[:, 0]).sample()
        return self.read(sentences[chosen])


@report(
    "no-graph",
    "E01c",
    culprit=("logits", "model"),
    false=("no_grad", "frozen"),
    cure="log_prob(sample)",
)
def summary_by_a_draw():
    """A frequent report on hard selection: no gradient comes through a sample."""
    torch.manual_seed(0)
    model = Summarizer()
    logits = model(torch.randn(5, 4))
    loss = logits.square().sum()
    loss.backward()


def cured_summary_by_a_draw():
    """A loss from the probability of the draw."""
    model = Summarizer()
    sentences = torch.randn(5, 4)
    choice = Categorical(logits=model.score(sentences)[:, 0])
    sample = choice.sample()
    reward = -model.read(sentences[sample]).square().sum()
    (-choice.log_prob(sample) * reward).backward()
    assert model.score.weight.grad is not None


class Agent:
    """Keeps the values of an episode."""

    def __init__(self):
        self.critic = nn.Linear(3, 1)
        self.optimizer = torch.optim.Adam(self.critic.parameters())
        self.values = []

    def act(self, state):
        """Remember the value."""
        self.values.append(self.critic(state).squeeze())

    def learn(self):
        """From all that is remembered; it is not forgotten."""
        returns = torch.ones(len(self.values))
        loss = F.mse_loss(torch.stack(self.values), returns)
        self.optimizer.zero_grad()
        loss.backward()


@report(
    "graph-freed",
    "E07b",
    culprit=("self.values[0]", "self.values", "agent.values[0]"),
    false=("two losses", "before the loop"),
    cure="[one.detach() for one in self.values]",
)
def values_of_old_episodes():
    """A frequent report on agents: the list of values is never emptied."""
    agent = Agent()
    for _ in range(2):
        for _ in range(3):
            agent.act(torch.randn(3))
        agent.learn()


def cured_values_of_old_episodes():
    """What was learned from is taken out of its graph."""
    agent = Agent()
    for _ in range(2):
        for _ in range(3):
            agent.act(torch.randn(3))
        agent.learn()
        agent.values = [one.detach() for one in agent.values]


@report(
    "non-scalar-backward",
    culprit="loss",
    false=("detach", "in place"),
    cure="`loss.mean()`",
)
def loss_of_each_word():
    """A frequent report: `reduction="none"`, and backward on all."""
    head = nn.Linear(3, 4)
    loss = F.cross_entropy(head(torch.randn(2, 3)), torch.tensor([1, 2]), reduction="none")
    loss.backward()


def cured_loss_of_each_word():
    """The mean."""
    head = nn.Linear(3, 4)
    loss = F.cross_entropy(head(torch.randn(2, 3)), torch.tensor([1, 2]), reduction="none")
    loss.mean().backward()


@report(
    "no-graph",
    "E01c",
    culprit=("total", "losses", "values"),
    false=("no_grad", "frozen"),
    cure="",
)
def losses_of_the_words_as_numbers():
    """A frequent report: the losses are collected as numbers and made a tensor again."""
    head = nn.Linear(3, 4)
    losses = [F.cross_entropy(head(torch.randn(1, 3)), torch.tensor([k])) for k in range(3)]
    total = torch.tensor(losses).sum()
    total.backward()


def cured_losses_of_the_words_as_numbers():
    """Stacked."""
    head = nn.Linear(3, 4)
    losses = [F.cross_entropy(head(torch.randn(1, 3)), torch.tensor([k])) for k in range(3)]
    torch.stack(losses).sum().backward()
    assert head.weight.grad is not None
