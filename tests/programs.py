"""Random small programs for property tests: expressions in a few leaves."""

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

UNARY = {
    "sin": torch.sin,
    "neg": torch.neg,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "double": lambda a: a * 2,
    "clone": torch.clone,
    "view": lambda a: a.view(-1),
    "detached part": lambda a: a + a.detach(),
}
BINARY = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "same twice": lambda a, _: a * a,
}

steps = st.lists(
    st.tuples(st.sampled_from([*UNARY, *BINARY]), st.integers(0, 30), st.integers(0, 30)),
    min_size=1,
    max_size=12,
)


def run(program: list[tuple[str, int, int]], leaves: int = 2) -> tuple[list[Tensor], list[Tensor]]:
    """The leaves and all intermediate tensors; the last one depends on at least one leaf.

    A step names an operation and which earlier tensors it takes.
    """
    generator = torch.Generator().manual_seed(len(program))
    made = [
        torch.rand(3, generator=generator, dtype=torch.float64).requires_grad_()
        for _ in range(leaves)
    ]
    tensors = list(made)
    for name, first, second in program:
        a, b = tensors[first % len(tensors)], tensors[second % len(tensors)]
        tensors.append(UNARY[name](a) if name in UNARY else BINARY[name](a, b))
    return made, tensors[leaves:]


class Attention(nn.Module):
    """Query, key and value lie side by side, and the input goes around all of them."""

    def __init__(self, size):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(size, size) for _ in range(3))

    def forward(self, x):
        return x + (self.q(x) @ self.k(x).transpose(-1, -2)).softmax(-1) @ self.v(x)
