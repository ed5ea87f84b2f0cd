"""Which parameters of a module a loss reaches, and what their gradients are."""

import re
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn.parameter import UninitializedParameter

from gradbook.see import torch_internals
from gradbook.understand.answer import (
    Answer,
    Situation,
    explanation_of,
    name_at,
    place_of_caller,
    unreadable,
)
from gradbook.understand.culprit import Place, cut_in_module, cut_of, listed
from gradbook.understand.explanation import Explanation
from gradbook.understand.hidden import Hidden, hidden_in
from gradbook.understand.shards import Shards, shards_of
from gradbook.understand.silent import (
    all_zero,
    count_not_finite,
    held_by,
    optimizers_at,
    plain_attributes,
)
from gradbook.understand.tensors import reaching

_MODULES = {
    "not-initialised": Situation(
        "`Module.__init__` has not run",
        "Call `super().__init__()` in the first line of `__init__`.",
        "parameter-before-init",
    ),
    "no-parameters": Situation(
        "the module has no parameter",
        "Keep layers as attributes or in `nn.ModuleList`, tensors in `nn.Parameter`.",
        "modules-in-a-list",
    ),
    "all-frozen": Situation(
        "every parameter is frozen", "`requires_grad_()` for what is to be trained.", "no-graph"
    ),
    "all-reached": Situation("the loss reaches every trained parameter", "", ""),
    "nothing-reached": Situation(
        "the loss reaches no parameter of the module",
        "Compute the loss from the output of this module, and cut the graph nowhere between.",
        "no-graph",
    ),
    "some-not-reached": Situation(
        "the loss does not reach some parameters",
        "Use every output in the loss; look for `no_grad()` and `detach()` in the forward pass.\n"
        "Or ask about the part that this loss is to train: `explain(model.part, loss)`.\n"
        "What is not to be trained at all: `requires_grad_(False)`.",
        "model-partly-under-no-grad",
    ),
    "hidden-by-checkpoint": Situation(
        "parameters behind a part that is computed again in backward",
        "Look at `.grad` after `backward()`.\n"
        "`use_reentrant=False` in the checkpoint shows them in the graph.",
        "checkpoint-mode-not-given",
    ),
    "sharded": Situation(
        "parameters that are shards: the graph holds others",
        "Look at `.grad` after `backward()`.",
        "grad-is-none",
    ),
    "all-have-gradients": Situation(
        "every trained parameter has a gradient", "", "zero-grad-forgotten"
    ),
    "gradients-zero": Situation(
        "some gradients are zero everywhere",
        "Look for what has a slope of zero on the way: a dead ReLU, a saturated sigmoid, "
        "`round()`, a mask or a factor of zero.",
        "rounding-has-zero-gradient",
    ),
    "gradients-not-finite": Situation(
        "some gradients are not finite",
        "Find the operation: `gradbook.replay(loss)` after a new forward pass shows each step.\n"
        "`torch.autograd.set_detect_anomaly(True)` stops at nan, though not at infinity.",
        "anomaly-nan",
    ),
    "not-in-optimizer": Situation(
        "no optimizer in reach holds some parameters",
        "Build the optimizer after the last layer is there, from `model.parameters()`; or "
        "`optimizer.add_param_group({'params': [...]})`.",
        "optimizer-before-new-layer",
    ),
    "attribute-is-no-parameter": Situation(
        "a tensor that requires grad is no parameter",
        "`self.name = nn.Parameter(tensor)`.",
        "modules-in-a-list",
    ),
    "no-gradients": Situation(
        "no parameter has a gradient",
        "Call `backward()` on a loss; `explain(module, loss)` says which ones it reaches.",
        "grad-is-none",
    ),
    "some-without-gradient": Situation(
        "some parameters have no gradient",
        "`explain(module, loss)` says which ones the loss reaches.",
        "model-partly-under-no-grad",
    ),
}


def of_module(module: nn.Module, loss: Tensor | None) -> Explanation:
    """Explain the parameters of a module."""
    with torch_internals.plain_tensors():
        place = place_of_caller()
        subject = _name_of_module(module, place)
        try:
            answer = _parameters(module, loss, place)
        except Exception as error:  # the code of a subclass
            return unreadable(error, subject, "module")
    return explanation_of(answer, _MODULES, subject, "module", answer.details)


def _name_of_module(module: nn.Module, place: Place | None) -> str | None:
    if place is None:
        return None
    named = {**place.namespace, **place.visible}
    return next((name for name, one in named.items() if one is module), None)


def _parameters(module: nn.Module, loss: Tensor | None, place: Place | None) -> Answer:
    kind = type(module).__name__
    if "_parameters" not in vars(module):
        return Answer("not-initialised", [f"{kind} has no place for parameters yet."])
    every = dict(module.named_parameters())  # a shared one once, by its first name
    answer = Answer("", [], {"parameters": str(len(every))})
    if not every:
        fact = f"{kind} has registered none; layers in a Python list or dict are not seen."
        return Answer("no-parameters", [fact], answer.details)
    frozen = [name for name, one in every.items() if not one.requires_grad]
    trained = {name: one for name, one in every.items() if one.requires_grad}
    graph: Mapping[Node, torch_internals.Edges] = {}
    shards = shards_of(module)
    if loss is None:
        good = [name for name, one in trained.items() if one.grad is not None]
        words = "with a gradient", "without a gradient"
    else:
        graph = torch_internals.walk([loss.grad_fn] if loss.grad_fn is not None else [])
        good = _reached(trained, every, loss, graph, shards, answer)
        words = "reached", "not reached"
    hidden = hidden_in(graph)
    left = [name for name in trained if name not in set(good)]
    held = hidden.parameters()
    behind = [
        name for name in left if hidden.kinds and (id(trained[name]) in held or not hidden.readable)
    ]
    untold = [
        name
        for name in left
        if name not in set(behind) and loss is not None and shards.untold(trained[name])
    ]
    missing = [name for name in left if name not in {*behind, *untold}]
    for word, names in zip((*words, "frozen"), (good, missing, frozen), strict=True):
        answer.details[word] = ", ".join(names) or "none"
        if names:
            verb = "is" if len(names) == 1 else "are"
            told = listed(in_short(names, every))
            answer.facts.append(f"{len(names)} of {len(every)} {verb} {word}: {told}.")
    if behind:
        _tell_hidden(behind, every, hidden, answer)
    if untold:
        answer.details["shards"] = ", ".join(untold)
        answer.facts.append(
            "Shards, of which the whole is not known here, so whether the loss reaches them "
            f"cannot be told: {listed(in_short(untold, every))}."
        )
    _tell_shared(module, every, answer)
    lazy = [name for name, one in every.items() if isinstance(one, UninitializedParameter)]
    if lazy:
        answer.facts.append(f"Without a shape until the first forward pass: {listed(lazy)}.")
    stale = [name for name in frozen if every[name].grad is not None]
    if stale:
        answer.facts.append(
            "Frozen, but with a gradient that an optimizer still applies: "
            f"{listed(in_short(stale, every))}."
        )
    answer.code = _verdict(trained, good, missing, behind, untold, loss)
    if loss is not None and missing and 0 < len(graph) < _MOST_NODES:
        _tell_cut(module, loss, [trained[name] for name in missing], place, answer)
        _tell_end(every, good, missing, graph, answer)
    _tell_silent(module, trained, shards, place, answer)
    return answer


_MOST_NODES = 50_000  # in a larger graph it takes too long to look where it was cut


def _tell_hidden(
    behind: Sequence[str], every: Mapping[str, Tensor], hidden: Hidden, answer: Answer
) -> None:
    """What a graph that is built during backward may reach."""
    answer.details["behind a checkpoint"] = ", ".join(behind)
    kinds = listed(hidden.kinds, code=False)
    verb = "is" if len(behind) == 1 else "are"
    perhaps = "" if hidden.readable else "perhaps "
    answer.facts.append(
        f"{len(behind)} of {len(every)} {verb} {perhaps}behind {kinds}, where a graph is built "
        f"only during backward: {listed(in_short(behind, every))}."
    )


def _tell_cut(
    module: nn.Module, loss: Tensor, missing: Sequence[Tensor], place: Place | None, answer: Answer
) -> None:
    """The line that ends the graph: in the module's forward pass, or between it and the loss."""
    carries = reaching(missing)
    name = name_at(loss, place)
    found = [cut_in_module(module, carries)]
    if place is not None and name is not None:
        cut = cut_of(place, name, carries)
        if "cut at" in cut.details:
            cut.facts = cut.facts[1:]  # that it ends there is said of what does not require grad
            found.insert(0, cut)
    for one in found:
        answer.facts += [fact for fact in one.facts if fact not in answer.facts]
        answer.cures += one.cures
        answer.details |= one.details


# Where the input of the module stands among the edges of its node.
_INPUTS = {
    "ConvolutionBackward0": 0,
    "AddmmBackward0": 1,
    "MmBackward0": 0,
    "LinearBackward0": 0,
    "MkldnnLinearBackward0": 0,
    "NativeBatchNormBackward0": 0,
    "NativeLayerNormBackward0": 0,
}
_TURNS = re.compile(r"(T|Transpose|Permute|View|Unsafeview|Expand)Backward\d+", re.IGNORECASE)


def _tell_end(
    every: Mapping[str, Tensor],
    good: Sequence[str],
    missing: Sequence[str],
    graph: Mapping[Node, torch_internals.Edges],
    answer: Answer,
) -> None:
    """The first reached module behind missing ones whose input has no graph."""
    order = list(every)
    first = min(order.index(name) for name in missing)
    late = [name for name in good if order.index(name) > first]
    if not late:
        return
    nodes = {
        id(leaf): node for node in graph if (leaf := torch_internals.leaf_of(node)) is not None
    }
    node = nodes.get(id(every[late[0]]))
    users = _users(node, graph) if node is not None else []
    for user in users:
        number = _INPUTS.get(torch_internals.node_name(user))
        if number is not None and number < len(graph[user]) and graph[user][number][0] is None:
            owner = late[0].rpartition(".")[0]
            answer.details["graph ends at"] = owner
            answer.facts.append(f"The graph ends at the input of `{owner}`, which has no graph.")
            return


def _users(node: Node, graph: Mapping[Node, torch_internals.Edges]) -> list[Node]:
    """The nodes that use a leaf, also turned around."""
    found: list[Node] = []
    pending = [node]
    for one in pending:  # grows while it is walked
        for user, edges in graph.items():
            if any(child is one for child, _ in edges):
                turned = _TURNS.fullmatch(torch_internals.node_name(user))
                (pending if turned else found).append(user)
    return found


def _tell_silent(
    module: nn.Module,
    trained: Mapping[str, Tensor],
    shards: Shards,
    place: Place | None,
    answer: Answer,
) -> None:
    """What no error tells; it is the answer where all else is well."""
    filled = {name: one.grad for name, one in trained.items() if one.grad is not None}
    bad = [name for name, gradient in filled.items() if count_not_finite(gradient)]
    zero = [name for name, gradient in filled.items() if all_zero(gradient)]
    plain = plain_attributes(module)
    optimizers = optimizers_at(place)
    held = held_by(optimizers)
    loose = [
        name for name, one in trained.items() if optimizers and not shards.is_one_of(one, held)
    ]
    names = listed(name for name, _ in optimizers)
    well = answer.code in ("all-reached", "all-have-gradients")
    for code, some, sentence in (
        ("gradients-not-finite", bad, "The gradient has nan or infinite numbers in {}."),
        ("gradients-zero", zero, "Every number of the gradient is zero in {}."),
        (
            "attribute-is-no-parameter",
            list(plain),
            "A tensor that requires grad, but no parameter, so `parameters()` leaves it out: {}.",
        ),
        ("not-in-optimizer", loose, f"Not in {names}, so no step changes it: {{}}."),
    ):
        if some:
            every = {**trained, **plain}
            answer.facts.append(sentence.format(listed(in_short(some, every))))
            if well:
                answer.code, well = code, False


# ---------------------------------------------------------------------------- names in short


def in_short(names: Sequence[str], every: Iterable[str]) -> list[str]:
    """Names of parameters as whole modules where all of one are meant, and repeated ones as one.

    >>> every = [f"layers.{n}.{part}" for n in range(9) for part in ("q.weight", "k.weight")]
    >>> in_short([name for name in every if name.startswith("layers.0")], every)
    ['layers.0']
    >>> in_short([name for name in every if "q" in name], every)
    ['layers.*.q.weight']
    """
    wanted = set(names)
    apart = {name for name in every if name not in wanted}
    found: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        heads = [".".join(parts[:count]) for count in range(1, len(parts))]
        whole = (head for head in heads if not any(one.startswith(f"{head}.") for one in apart))
        shortest = next(whole, name)
        several = sum(one.startswith(f"{shortest}.") for one in wanted)
        found[shortest if several != 1 else name] = None
    if len(found) <= _MOST_NAMES:
        return list(found)
    return list(dict.fromkeys(re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name) for name in found))


_MOST_NAMES = 6


def _reached(
    trained: Mapping[str, Tensor],
    every: Mapping[str, Tensor],
    loss: Tensor,
    graph: Mapping[Node, torch_internals.Edges],
    shards: Shards,
    answer: Answer,
) -> list[str]:
    """The trained parameters that are in the graph of the loss."""
    if loss.grad_fn is None:
        answer.facts.append("The loss has no graph, so it reaches nothing.")
    leaves = {id(leaf) for node in graph if (leaf := torch_internals.leaf_of(node)) is not None}
    good = [name for name, one in trained.items() if shards.is_one_of(one, leaves)]
    answer.details["nodes of the loss"] = str(len(graph))
    without = [name for name in good if trained[name].grad is None]
    answer.details["reached, without a gradient"] = ", ".join(without) or "none"
    own = [*every.values(), *map(shards.other, every.values())]
    others = len(leaves - {id(one) for one in own})
    if others:
        answer.facts.append(
            f"Leaves in the graph of the loss that are no parameters of this module: {others}."
        )
    return good


def _tell_shared(module: nn.Module, every: Mapping[str, Tensor], answer: Answer) -> None:
    names = {id(one): name for name, one in every.items()}
    shared = [
        f"{name} = {names[id(one)]}"
        for name, one in module.named_parameters(remove_duplicate=False)
        if name not in every
    ]
    if shared:
        answer.facts.append(f"Shared, and counted once: {listed(shared)}.")


def _verdict(
    trained: Mapping[str, Tensor],
    good: Sequence[str],
    missing: Sequence[str],
    behind: Sequence[str],
    untold: Sequence[str],
    loss: Tensor | None,
) -> str:
    if not trained:
        return "all-frozen"
    if loss is None:
        if not missing:
            return "all-have-gradients"
        return "some-without-gradient" if good else "no-gradients"
    if missing:
        return "some-not-reached" if good or behind or untold else "nothing-reached"
    if behind:
        return "hidden-by-checkpoint"
    return "sharded" if untold else "all-reached"
