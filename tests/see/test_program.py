"""The script of the player computes what torch computes, with any numbers in the leaves."""

import json

import pytest
import quickjs
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gradbook import record_lines, replay
from gradbook.see.display import assets, player
from gradbook.see.display.rules import RULES

CALL = """(program, leaves) => {
  const { found, rules } = run(JSON.parse(program), JSON.parse(leaves));
  const all = (write) =>
    Object.fromEntries(Object.entries(found).map(([name, one]) => [name, write(one)]));
  return JSON.stringify([all((one) => one.d.map(String)), all((one) => written(one)), rules]);
}"""


@pytest.fixture(scope="module")
def engine():
    """Runs a program with other numbers."""
    context = quickjs.Context()
    context.eval(assets.engine())
    call = context.eval(CALL)

    def run(result, leaves=None):
        program = result._program
        assert isinstance(program, dict), program
        if leaves is None:
            leaves = {one["id"]: one["value"] for one in program["leaves"]}
        numbers, texts, rules = json.loads(call(json.dumps(program), json.dumps(leaves)))
        found = {name: [number(one) for one in values] for name, values in numbers.items()}
        return found, texts, rules

    return run


def number(text):
    """A number as JavaScript writes it."""
    return float(text.replace("Infinity", "inf"))


# Every operation of the list, in the shapes and forms in which programs have it.
UNARY = {
    "neg": torch.neg,
    "pow": lambda a: a**3,
    "square": torch.square,
    "exp": lambda a: (a / 4).exp(),
    "log": lambda a: (a.abs() + 0.5).log(),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "F.relu": F.relu,
    "abs": torch.abs,
    "sin": torch.sin,
    "cos": torch.cos,
    "sum": torch.sum,
    "mean": torch.mean,
    "max": torch.max,
    "sum of rows": lambda a: a.sum(-1) if a.dim() else a,
    "mean of columns, kept": lambda a: a.mean(0, keepdim=True) if a.dim() else a,
    "max of rows": lambda a: a.max(-1).values if a.dim() else a,
    "amax": lambda a: a.amax(0) if a.dim() else a,
    "clamp": lambda a: a.clamp(-1, 0.5),
    "clamp below": lambda a: a.clamp(min=0.25),
    "clamp above": lambda a: torch.clamp(a, max=1),
    "clamp_min": lambda a: a.clamp_min(0.25),
    "clamp_max": lambda a: a.clamp_max(0.25),
    "where": lambda a: torch.where(a > 0.5, a * 2, 0.25),
    "add a number": lambda a: 0.5 + a,
    "from a number": lambda a: 2 - a,
    "double": lambda a: 2 * a,
    "halve": lambda a: a / 2,
    "add a tensor": lambda a: a + torch.full((3,), 0.1, dtype=a.dtype),
    "power of two": lambda a: 2**a,
    "one over": lambda a: 1 / (a.square() + 1),
    "sqrt": lambda a: (a.square() + 1).sqrt(),
    "turn": lambda a: a.T if a.dim() == 2 else a,
    "matrix": lambda a: torch.ones(2, 3, dtype=a.dtype) @ a if a.shape == (3,) else a,
}
BINARY = {
    "add": torch.add,
    "add with alpha": lambda a, b: torch.add(a, b, alpha=0.5),
    "sub": torch.sub,
    "mul": torch.mul,
    "div": lambda a, b: a / (b.square() + 1),
    "power": lambda a, b: (a.abs() + 0.5) ** b.tanh(),
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "where": lambda a, b: torch.where(a > b, a, b.sin()),
    "mse": lambda a, b: F.mse_loss(a, b) if a.shape == b.shape else a - b,
    "matmul": lambda a, b: a @ b if a.dim() and b.dim() and a.shape[-1] == b.shape[0] else a * b,
}
SHAPES = ((), (3,), (2, 3), (3, 3))
moves = st.lists(
    st.tuples(st.sampled_from([*UNARY, *BINARY]), st.integers(0, 9), st.integers(0, 9)),
    min_size=1,
    max_size=8,
)


def compute(program, leaves):
    """The sum of what a program makes; operands whose shapes do not go together are summed."""
    made = list(leaves)
    for name, first, second in program:
        a, b = made[-1 - first % len(made)], made[-1 - second % len(made)]
        if name == "add a tensor" and a.dim() and a.shape[-1] != 3:
            a = a.sum()
        fits = a.shape[-1:] == b.shape[:1] if name == "matmul" else a.shape == b.shape
        if not fits and a.dim() and b.dim():
            b = b.sum()
        one = UNARY[name](a) if name in UNARY else BINARY[name](a, b)
        made.append(one if one.numel() <= 9 else one.sum())
    return made[-1].sum() + made[-2].sum() * 0.5


def leaves_of(seed, shapes, dtype=torch.float64, scale=2.0):
    """Leaves with random numbers."""
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.rand(shape, generator=generator, dtype=dtype) * 2 * scale - scale).requires_grad_()
        for shape in shapes
    ]


def assert_same(engine, result, names, out, leaves, rtol=1e-6):
    """The script's result and gradients are torch's."""
    gradients = torch.autograd.grad(out, leaves, allow_unused=True)
    ids = {step.node.tensor_name: step.node.id for step in result.steps if step.node.is_leaf}
    numbers = {
        ids[name]: [*map(float, leaf.detach().flatten())]
        for name, leaf in zip(names, leaves, strict=True)
        if name in ids
    }
    found = engine(result, numbers)[0]
    got = torch.tensor(found["v0"], dtype=torch.float64)
    torch.testing.assert_close(got[0], out.detach().double(), rtol=rtol, atol=1e-9, equal_nan=True)
    for name, gradient in zip(names, gradients, strict=True):
        if gradient is None:
            assert name not in ids
            continue
        got = torch.tensor(found[f"g{ids[name]}"], dtype=torch.float64).reshape(gradient.shape)
        torch.testing.assert_close(got, gradient.double(), rtol=rtol, atol=1e-9, equal_nan=True)


@settings(deadline=None, max_examples=60)
@given(moves, st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3), st.integers(0, 99))
def test_with_any_numbers_it_gives_the_gradients_of_torch(engine_of_all, program, shapes, seed):
    """Random programs of the list, at 50 random inputs each, to 1e-6."""
    names = [f"x{n}" for n in range(len(shapes))]
    leaves = leaves_of(seed, shapes)
    with record_lines():
        out = compute(program, leaves)
    result = replay(out, params=dict(zip(names, leaves, strict=True)))
    if isinstance(result._program, str):
        assert "more than" in result._program
        return
    for again in range(50):
        others = leaves_of(1000 + 50 * seed + again, shapes)
        assert_same(engine_of_all, result, names, compute(program, others), others)


@pytest.fixture(scope="module")
def engine_of_all(engine):
    """The engine, for tests with many examples."""
    return engine


FUNCTIONS = [(name, 1, one) for name, one in UNARY.items()]
FUNCTIONS += [(f"{name} of two", 2, one) for name, one in BINARY.items()]


GRID = (-2.0, -1.0, -0.5, -0.0, 0.0, 0.25, 0.5, 1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("count", "function"), [pytest.param(*one, id=name) for name, *one in FUNCTIONS]
)
def test_kinks_ties_and_ends_are_those_of_torch(engine, count, function):
    """On a grid whose points lie on the kinks: relu at 0, clamp at its bounds, max of equals."""
    leaves = leaves_of(1, [(3,)] * count)
    names = [f"x{n}" for n in range(count)]
    with record_lines():
        out = function(*leaves).sum()
    result = replay(out, params=dict(zip(names, leaves, strict=True)))
    for first in GRID:
        for second in GRID:
            points = [[first, second, first], [second, second, first]][:count]
            others = [torch.tensor(p, dtype=torch.float64, requires_grad=True) for p in points]
            assert_same(engine, result, names, function(*others).sum(), others)


@pytest.mark.parametrize(
    "function",
    [
        *(torch.log, torch.sqrt, torch.reciprocal, lambda a: a**0, lambda a: a**-1),
        *(lambda a: a / a, lambda a: a**0.5, lambda a: a**a, lambda a: a.exp().exp().exp()),
        *(lambda a: torch.relu(a.log()), lambda a: a.log().abs(), lambda a: a.log().max()),
        *(lambda a: a.log().clamp(-1, 1), lambda a: torch.maximum(a.log(), a)),
        *(lambda a: torch.minimum(a.log(), a.sqrt()), lambda a: torch.maximum(a.log(), a.sqrt())),
        *(lambda a: a.log().clamp_min(0), lambda a: a.log().amax()),
        *(lambda a: a.log().max(0).values, lambda a: a**-0.5, lambda a: a**2.5),
    ],
)
def test_nan_and_infinity_are_those_of_torch(engine, function):
    """Where there is no number, both say so."""
    (x,) = leaves_of(1, [(3,)])
    with record_lines():
        out = function(x).sum()
    result = replay(out, params={"x": x})
    for a in GRID:
        other = torch.tensor([a, 1.0, 20.0], dtype=torch.float64, requires_grad=True)
        assert_same(engine, result, ["x"], function(other).sum(), [other])


def test_single_precision_rounds_as_torch_does(engine):
    """0.1 - 0.1 is 0 in float32, so that relu is at its kink; in float64 it would not be."""
    x = torch.tensor([0.1, 0.3], requires_grad=True)

    def function(x):
        return torch.relu(x - 0.1).sum() * 3 / 7

    with record_lines():
        out = function(x)
    result = replay(out, params={"x": x})
    for a in (0.1, 0.2, 0.7, 1e-8, 16777217.0):
        other = torch.tensor([a, 0.1], requires_grad=True)
        assert_same(engine, result, ["x"], function(other), [other])


@pytest.mark.parametrize("name", ["seed", "network", "twice", "columns"])
def test_numbers_and_rules_are_written_as_the_player_writes_them(engine, name):
    """With the recorded leaves, every text that the script may put in is the one that is there."""
    result = PASSES[name]()
    _, texts, rules = engine(result)
    reading = player._read(result)
    for number_of, value in reading.values.items():
        assert texts[f"v{number_of}"] == str(value)
    for node, value in reading.gradients.items():
        assert texts[f"g{node}"] == str(value)
    for edge, value in reading.passed.items():
        assert texts[f"e{edge}"] == str(value)
    for leaf, (_, after) in reading.grads.items():
        assert texts[f"d{leaf}"] == str(after)
    sent = [one for step in result.steps for one in player._sent(reading, step)]
    for one in sent:
        if one.numbers:
            assert rules[str(one.edge)] == one.numbers


def seed_pass():
    """The program of the Learn path."""
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    with record_lines():
        y = x + 2
        out = (y * y * 2).mean()
    return replay(out, params={"x": x})


def network_pass():
    """Matrices, a bias that is broadcast, a kink."""
    w = torch.tensor([[0.5, -1.0], [1.5, 2.0]], requires_grad=True)
    b = torch.tensor([0.25, -0.75], requires_grad=True)
    x = torch.tensor([[1.0, 2.0], [-3.0, 0.5]])
    with record_lines():
        loss = F.mse_loss(torch.relu(x @ w + b), torch.ones(2, 2))
    return replay(loss, params={"w": w, "b": b})


def twice_pass():
    """What is in .grad already is added to."""
    v = torch.tensor(-3.0, requires_grad=True)
    v.grad = torch.tensor(11.0)
    with record_lines():
        loss = v**2 + 5 * v
    return replay(loss, params={"v": v})


def columns_pass():
    """Sums over dimensions, a gradient of one's own, two outputs."""
    x = torch.tensor([[1.0, -2.0, 3.0], [0.5, 4.0, 4.0]], requires_grad=True)
    with record_lines():
        a = x.max(1).values
        b = x.mean(0)
    return replay(a, b, gradient=[torch.tensor([1.0, 2.0]), torch.ones(3)], params={"x": x})


PASSES = {
    "seed": seed_pass,
    "network": network_pass,
    "twice": twice_pass,
    "columns": columns_pass,
}


def x_of_three():
    """A leaf."""
    return torch.tensor([1.0, 2.0, 3.0], requires_grad=True)


def recorded(function):
    """The program of a function of three numbers, or why there is none."""
    x = x_of_three()
    with record_lines():
        out = function(x)
    return replay(out.sum())._program


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: x.softmax(0), "the player has no rule for SoftmaxBackward0"),
        (lambda x: x * x.detach(), "a constant was computed from a leaf, by detach"),
        (lambda x: x * x[0].item(), "a number was taken out of a tensor, by item"),
        (lambda x: x.repeat(20) * 2, "the player has no rule for RepeatBackward0"),
        (lambda x: x + torch.ones(20, 3), "a tensor has more than 24 elements"),
        (lambda x: x.double() * 2, "the player has no rule for ToCopyBackward0"),
        (lambda x: torch.where((x > 1) & (x < 3), x, -x), "a constant was computed from a leaf"),
        (lambda x: torch.where(x * 2 > 1, x, -x), "a condition compares what is not in the graph"),
        (lambda x: sum([x] * 90), "the graph has more than 60 nodes"),
    ],
)
def test_what_cannot_be_told_for_sure_has_no_program(function, reason):
    """But the reason, in words."""
    assert reason in recorded(function)


def test_without_a_record_there_is_no_program():
    """Nobody knows what was added."""
    x = x_of_three()
    assert replay((x + 2).sum())._program == "it did not run under record_lines()"


def test_half_precision_is_not_computed():
    """JavaScript has no such numbers."""
    x = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    with record_lines():
        out = (x * 2).sum()
    assert replay(out)._program == "it computes in bfloat16"


def test_every_rule_of_the_list_is_tried():
    """A rule that no example above uses would not be proved."""
    used = set()
    for _, count, function in FUNCTIONS:
        leaves = leaves_of(1, [(3,)] * count)
        with record_lines():
            out = function(*leaves).sum()
        used |= {step.node.name for step in replay(out).steps}
    extra = {"MmBackward0", "AddmmBackward0", "DotBackward0", "TBackward0", "MeanBackward1"}
    extra |= {"SumBackward1", "AmaxBackward0"}
    assert {name for name, rule in RULES.items() if rule.forward} - used <= extra


def test_a_linear_layer_has_a_program(engine):
    """Two moves and addmm."""
    layer = torch.nn.Linear(3, 2).double()
    x = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    with record_lines():
        out = layer(x).tanh().sum()
    result = replay(out, params=layer)
    names = ["weight", "bias"]
    for seed in range(20):
        weight, bias = leaves_of(seed, [(2, 3), (2,)])
        other = torch.tanh(x @ weight.T + bias).sum()
        assert_same(engine, result, names, other, [weight, bias])


def test_the_script_says_nan_and_infinity_as_python_does(engine):
    """And small and large numbers."""
    x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    with record_lines():
        out = (x * 1).sum()
    result = replay(out, params={"x": x})
    for value in (
        1.8125,
        12345.0,
        12355.0,
        0.00012345,
        1e-9,
        2 / 3,
        123.456,
        9999.6,
        1e4,
        1e22,
        -0.0,
        5e-324,
        0.0001,
        -0.00012,
        1e-5,
    ):
        texts = engine(result, {result.steps[-1].node.id: [value, -value, 1]})[1]
        leaf = texts[f"v{result.steps[-1].node.id}"]
        assert leaf == f"[{value:.4g}, {-value:.4g}, 1]"
