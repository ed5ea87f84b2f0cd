"""Explain a tensor, a module, an exception or a pasted message."""

import codecs
import html
import re
from collections.abc import Iterable

from torch import Tensor, nn

from gradbook.understand import catalogue, culprit, pasted
from gradbook.understand.catalogue import BASE_URL, Entry, Variant
from gradbook.understand.culprit.names import is_tensor, items_of, members
from gradbook.understand.explanation import Explanation
from gradbook.understand.modules import of_module
from gradbook.understand.tensors import of_tensor


def explain(
    obj: Tensor | nn.Module | BaseException | str | bytes, loss: Tensor | None = None
) -> Explanation:
    """Say why a tensor has no gradient, which parameters a loss reaches, or what an error means.

    Only reads: no ``.grad`` is filled, no hook runs, and nothing is kept.

    Args:
        obj: a tensor of any kind; a module; an exception, with or without traceback; or text:
            a message or a pasted traceback, also of an older torch.
        loss: for a tensor or a module: whether the graph of this tensor reaches it.

    Raises:
        TypeError: `obj` or `loss` is of another type.

    >>> import torch
    >>> x = torch.ones(3, requires_grad=True)
    >>> explain(x * 2).code
    'non-leaf'
    >>> print(explain("grad can be implicitly created only for scalar outputs"))
    non-scalar-backward: `backward()` on more than one number
      because
        - Without an argument, `backward()` starts from the gradient 1, ...
      cure
        - Reduce the loss to one number: `loss.mean()` or `loss.sum()`.
        ...
    """
    if loss is not None and not isinstance(loss, Tensor):
        raise _no_loss(loss)
    if isinstance(obj, Tensor):
        return of_tensor(obj, loss)
    if isinstance(obj, nn.Module):
        return of_module(obj, loss)
    if isinstance(obj, BaseException):
        return _of_exception(obj)
    if isinstance(obj, (bytes, bytearray)):
        return _of_text(decoded(bytes(obj)))
    if isinstance(obj, str):
        return _of_text(obj)
    raise _refused(obj)


def _refused(obj: object) -> TypeError:
    hint = "to ask why x.grad is None, give x itself" if obj is None else _part_of(obj, "loss")
    return TypeError(
        f"explain needs a tensor, a module, an exception or a text, got {type(obj).__name__}"
        + (f": {hint}" if hint else "")
    )


def _no_loss(loss: object) -> TypeError:
    hint = _part_of(loss, "loss", "logits") or "give it before .item()"
    return TypeError(f"loss must be a tensor, got {type(loss).__name__}: {hint}")


def _part_of(obj: object, *names: str) -> str:
    """The tensor that is meant, where an object such as a model's output holds it."""
    for name in names:
        inside = dict(items_of(obj)) | {f".{key}": one for key, one in members(obj).items()}
        for step in (f".{name}", f"[{name!r}]"):
            if is_tensor(inside.get(step)):
                return f"give its {name}, the tensor in it: `output{step}`"
    return ""


# ------------------------------------------------------------------------------------- messages


def decoded(raw: bytes) -> str:
    """Bytes of a file or a pipe as text; what cannot be read is replaced.

    >>> decoded("größer".encode("utf-16"))  # Windows PowerShell writes a log like this
    'größer'
    """
    wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return raw.decode("utf-16" if wide else "utf-8-sig", "replace")


def _of_text(text: str) -> Explanation:
    text = catalogue.without_colours(text)
    found = catalogue.find(text)
    if not found and "&" in text:  # copied from the source of a web page
        found = catalogue.find(html.unescape(text[-_LONGEST_SEARCH:]))
    place = pasted.last_line(pasted.frames(text))
    details = {} if place is None else {"line": f"{place.file}:{place.line}: {place.code}"}
    if not found:
        return _unknown(text, details)
    if found[1:]:
        details["also"] = ", ".join(match.entry.id for match in found[1:])
    entry = found[0].entry
    facts = _says(entry, found[0].message)
    if entry.kind == "warning" and _TRACEBACK in text:
        facts.insert(0, "This is a warning before the error; the error is not in the catalogue.")
    more = [f"How to recognise it: {entry.signal}"]
    if entry.context:
        more.append(_PYTHONS_WORDS)
    finding = culprit.Finding(facts=facts, details=details)
    finding.facts += [
        f"The text also has `{match.entry.id}`: {match.entry.title}." for match in found[1:]
    ]
    message = found[0].message
    told = pasted.cause_of(entry, message, text)
    if told is not None and not told.when:  # the message alone is looked at below
        finding.variant = told.source
    left = pasted.likely(entry, message, text)
    finding.likely += [one.source for one in left]
    finding.excluded |= {one.source for one in entry.variants} - set(finding.likely)
    if entry.id == "modified-in-place" and (sentence := _of_what(message)):
        finding.facts.append(sentence)
    return _of_entry(entry, finding, message, more)


# The product of a Linear layer saves its weight turned around.
_TURNED = re.compile(r"\[\d+, \d+\]\], which is output 0 of (?:AsStrided|T)(?:Backward0?)?,")
_NOT_MADE = re.compile(r"\[[\w.]+ \[[\d, ]*\]\] is at version")


def _of_what(message: str) -> str:
    """What the message gives away of the tensor that was changed."""
    if _TURNED.search(message):
        return (
            "A matrix that was turned around, as this one, is nearly always the weight of a Linear "
            "layer: as a rule an optimizer stepped between the forward pass and this backward."
        )
    if _NOT_MADE.search(message):
        return (
            "The message names no operation that made the tensor: it is a leaf, such as a "
            "parameter, or it has no graph, as a buffer."
        )
    return ""


def _of_exception(error: BaseException) -> Explanation:
    one, entry, message = _recognised(error)
    if entry is None:
        message = _message(error)
        return _unknown(f"{type(error).__name__}: {message}", {"message": message[:500]})
    finding = culprit.investigate(one, entry, message)
    message = " ".join(message.split())
    if finding.subject is None and not finding.facts:
        finding.facts += _says(entry, message)
    if one is not error:
        finding.details["inside"] = type(error).__name__
    doubt = [_PYTHONS_WORDS] if entry.context and one.__traceback__ is None else []
    return _of_entry(entry, finding, message, doubt)


_LONGEST_SEARCH = 200_000
_LONGEST_MESSAGE = 4_000  # as much as the catalogue looks at
_MOST_ERRORS = 1_000
_TRACEBACK = "Traceback (most recent call last)"
_PYTHONS_WORDS = "These words are Python's own, so the error may come from elsewhere."


def _recognised(error: BaseException) -> tuple[BaseException, Entry | None, str]:
    """The error itself, or the nearest one behind it, that the catalogue knows."""
    queue: list[BaseException | None] = [error]
    seen: set[int] = set()
    for one in queue:  # grows while it is walked
        if one is None or id(one) in seen:
            continue
        if len(seen) == _MOST_ERRORS:
            break
        seen.add(id(one))
        message = _message(one)
        entry = catalogue.match_message(
            message, name=type(one).__name__, surroundings=culprit.source_of(one)
        )
        if entry is not None:
            return one, entry, message
        if isinstance(one, BaseExceptionGroup):
            queue += one.exceptions
        queue += [one.__cause__, None if one.__suppress_context__ else one.__context__]
    return error, None, ""


def _message(error: BaseException) -> str:
    try:
        return str(error)[:_LONGEST_MESSAGE]
    except Exception:  # a class of the program, with a __str__ that fails
        return ""


# What a message says itself, in our words.
_SAYS = {
    "modified-in-place": (
        r"\[([\w.]+ \[[\d, ]*\])\](?:, which is output \d+ of (\w+))?.{0,80}"
        r"is at version (\d+); expected version (\d+)",
        "The tensor is a {0}{1}; it was saved at version {3}, and is at version {2}: look for "
        "what changes it in place.",
    ),
    "anomaly-nan": (r"Function '(\w+)'", "The nan came out of {0}."),
    "no-derivative": (r"derivative for '?([\w:. ]+)'? is not", "It is the derivative of {0}."),
    "input-unused": (r"at index (\d+)", "It is input {0}, counted from 0."),
    "forward-ad-unsupported": (r"forward AD with ([\w:.]+)", "The operation is {0}."),
    "matmul-shapes": (r"\((\d+x\d+) and (\d+x\d+)\)", "The matrices are {0} and {1}."),
}


def _says(entry: Entry, message: str) -> list[str]:
    pattern, sentence = _SAYS.get(entry.id, ("", ""))
    found = re.search(pattern, message) if pattern else None
    if found is None:
        return []
    words = [word or "" for word in found.groups()]
    if entry.id == "modified-in-place" and words[1]:
        words[1] = f", made by {words[1]}"
    return [sentence.format(*words)]


def _of_entry(
    entry: Entry, finding: culprit.Finding, message: str, more: Iterable[str] = ()
) -> Explanation:
    """Facts first; then the cause where it is known, else the causes that are left."""
    because, cures = [*finding.facts], [*finding.cures]
    seen = next((one for one in entry.variants if one.source == finding.variant), None)
    variant = seen or entry.variant_of(message)
    possible: list[str] = []
    if variant is not None:
        because += [] if finding.complete else [variant.because]
        cures.append(variant.cure)
        finding.details["cause"] = variant.title
    else:
        because += entry.because
        possible = [_told_variant(one) for one in _left(entry, finding)] or [*entry.possible]
    if seen is None:  # what helps against other causes does not help here
        cures = [*cures, *entry.cures][: _MOST_CURES if variant is not None else None]
    if entry.related:
        finding.details["related"] = ", ".join(entry.related)
    return Explanation(
        code=entry.id,
        title=entry.title,
        because=tuple(dict.fromkeys([*because, *more])),
        cure="\n".join(dict.fromkeys(cures)),
        url=entry.url,
        subject=finding.subject,
        kind=entry.kind,
        details=finding.details,
        possible=tuple(possible),
    )


_MOST_CURES = 3  # where the cause is known, the others matter less


def _left(entry: Entry, finding: culprit.Finding) -> list[Variant]:
    """The causes that neither the message nor the program excludes, likeliest first."""
    left = [one for one in entry.variants if not one.when and one.source not in finding.excluded]
    order = {source: number for number, source in enumerate(finding.likely)}
    return sorted(left, key=lambda one: order.get(one.source, len(order)))


def _told_variant(variant: Variant) -> str:
    """Its title, why, and how to tell."""
    return " ".join(one for one in (f"{variant.title}: {variant.because}", variant.tell) if one)


def _unknown(text: str, details: dict[str, str]) -> Explanation:
    near = catalogue.nearest(text) if text.strip() else ()
    because = ["This text is not in the catalogue." if text.strip() else "There is no text."]
    if near:
        details["nearest"] = ", ".join(entry.id for entry in near)
        because += [f"It shares words with {entry.id}: {entry.title}." for entry in near]
    return Explanation(
        code="not-recognised",
        title="not recognised",
        because=tuple(because),
        cure="Look through the Clinic, or search it for the words of the message.",
        url=BASE_URL + "clinic/index.html",
        details=details,
    )
