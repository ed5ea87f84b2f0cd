"""Let exercises be answered on the page: a field, and the rules by which the check judges.

A cell that calls a check with three dots gets a field where the answer is a number, a list, a word,
letters or truth values. The checks themselves say how they judge (`Inquiry` in
`gradbook.check.answers`); letters are judged by each check in its own way, so it is asked about
every choice. ``exercises.js`` judges by these rules in the browser. They stand in the page encoded,
so that nobody reads an answer by accident. Where an answer is a function there is no field, and
without JavaScript none is seen.
"""

import base64
import io
import itertools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.builders.gettext import MessageCatalogBuilder, MsgOrigin
from sphinx.environment import BuildEnvironment
from sphinx.locale import _

from execution.kept import file_for, kept, text_of

_TRIED = re.compile(r"^check\.([a-z]\w*\.[a-z]\w*)\(\.\.\.\)", flags=re.MULTILINE)
_NAMES = "exercise-names.js"
_AFTER_THE_SEARCH = 950  # which collects at 900
_MOST_LETTERS = 8
_FEW = 8  # pages, of which perhaps none has an exercise


def rule_of(check: Callable[[Any], None]) -> dict[str, Any] | None:
    """How a check judges, as JSON has it; None where a field cannot take the answer.

    Args:
        check: a function of `gradbook.check` that takes one answer.
    """
    from gradbook.check.answers import Inquiry, WrongAnswer

    inquiry = Inquiry()
    try:
        with redirect_stdout(io.StringIO()):
            check(inquiry)
    except (WrongAnswer, TypeError):
        pass  # it judges what is no answer
    if len(inquiry.rules) != 1:
        return None
    (rule,) = inquiry.rules
    if rule["kind"] == "numbers":
        values = [rule["expected"], *rule["mistakes"].values()]
        if rule["expected"].dim() > 1 or not all(one.isfinite().all() for one in values):
            return None
        known = [(message, _rounded(one)) for message, one in rule["mistakes"].items()]
        return rule | {"expected": _rounded(rule["expected"]), "mistakes": known}
    if rule["kind"] == "letters":
        return _every_choice(check, rule["options"])
    pairs = {name: list(one.items()) for name, one in rule.items() if isinstance(one, dict)}
    return json.loads(json.dumps(rule | pairs))


def _rounded(numbers: Any) -> list[float]:
    """A tensor's numbers without the last digits, which may differ from run to run."""
    return [float(f"{one:.12g}") for one in numbers.flatten().tolist()]


def _every_choice(check: Callable[[Any], None], options: list[str]) -> dict[str, Any] | None:
    """What the check says to each set of letters."""
    from gradbook.check.answers import WrongAnswer

    if len(options) > _MOST_LETTERS:
        return None
    rule: dict[str, Any] = {"kind": "letters", "options": options}
    mistakes: dict[str, int] = {}
    told = {}
    for count in range(len(options) + 1):
        for chosen in map("".join, itertools.combinations(options, count)):
            said = io.StringIO()
            try:
                with redirect_stdout(said):
                    check(chosen)
            except WrongAnswer as wrong:
                told[chosen] = mistakes.setdefault(str(wrong), len(mistakes))
            else:
                right = said.getvalue().strip().removeprefix("Right.").strip()
                rule |= {"expected": chosen, "right": right}
    return rule | {"mistakes": list(mistakes), "told": told}


def texts_of(rule: dict[str, Any]) -> Iterator[str]:
    """Each text of a rule that a reader may see."""
    yield rule["right"]
    for one in rule.get("reasons", rule.get("mistakes")):
        yield one if isinstance(one, str) else one[0 if rule["kind"] == "numbers" else 1]


def translated(rule: dict[str, Any], gettext: Callable[[str], str]) -> dict[str, Any]:
    """The rule with each of those texts in another language."""

    def say(text: str) -> str:
        return gettext(text) if text else ""  # an empty message is the head of a catalogue

    name = "reasons" if "reasons" in rule else "mistakes"
    where = 0 if rule["kind"] == "numbers" else 1
    known = [
        say(one)
        if isinstance(one, str)
        else [say(part) if at == where else part for at, part in enumerate(one)]
        for one in rule[name]
    ]
    return rule | {"right": say(rule["right"]), name: known}


def _tries(doctree: nodes.document) -> Iterator[tuple[nodes.Element, list[str]]]:
    """The cells that call checks without an answer, and the names of these."""
    for cell in doctree.findall(nodes.container):
        if cell.get("nb_element") == "cell_code":
            source = cell.next_node(nodes.literal_block)
            if source is not None and (names := _TRIED.findall(source.astext())):
                yield cell, names


def _ask(app: Sphinx, doctree: nodes.document) -> None:
    names = [name for _cell, found in _tries(doctree) for name in found]
    if names:
        store = file_for(app, f"answers/{app.env.docname}")
        depends = *names, text_of(Path(__file__))
        if answers := kept(store, depends, lambda: _answers(names)):
            app.env.metadata[app.env.docname]["answers"] = answers


def _answers(names: list[str]) -> dict[str, Any]:
    """The rules of checks, and the sentences that all use; empty if no answer fits into a field."""
    from gradbook import check  # torch comes with it, so not before an exercise is read
    from gradbook.check.answers import SENTENCES

    rules = {}
    for name in names:
        module, function = name.split(".")
        rules[name] = rule_of(getattr(getattr(check, module), function))
    fields = {name: rule for name, rule in rules.items() if rule is not None}
    return {"sentences": SENTENCES, "rules": fields} if fields else {}


def _import_once(app: Sphinx, env: BuildEnvironment, names: list[str]) -> None:
    """Before Sphinx forks: each of its many processes would import torch for itself.

    None does where an earlier build has kept what these modules say.
    """
    store = file_for(app, "answers")
    known = store is not None and store.with_suffix("").exists()
    if app.parallel > 1 and len(names) > _FEW and not known:
        from gradbook import check  # noqa: F401 -- for the processes
        from reading import proof  # noqa: F401 -- as above


def _names(app: Sphinx) -> list[tuple[str, str]]:
    """Page and name of each exercise that has a field."""
    found = app.env.metadata.items()
    return [
        (page, name)
        for page, of in sorted(found)
        for name in of.get("answers", {"rules": ()})["rules"]
    ]


def _put(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    data = app.env.metadata[docname].get("answers")
    if data is None:
        return
    if isinstance(app.builder, MessageCatalogBuilder):
        texts = itertools.chain(data["sentences"].values(), *map(texts_of, data["rules"].values()))
        for text in filter(None, texts):
            origin = MsgOrigin(app.env.doc2path(docname), 1)
            app.builder.catalogs["sphinx"].add(text, origin)
    if app.builder.format != "html":
        return
    for cell, names in list(_tries(doctree)):
        fields = "".join(
            _field(name, data["rules"][name], _title(cell), number if len(names) > 1 else 0)
            for number, name in enumerate(names, 1)
            if name in data["rules"]
        )
        cell["classes"].append("asked")
        place = cell.parent.index(cell) + 1
        cell.parent.insert(place, nodes.raw("", fields, format="html"))
    sentences = {name: _(text) for name, text in data["sentences"].items()}
    rules = {name: translated(rule, _) for name, rule in data["rules"].items()}
    text = json.dumps({"sentences": sentences, "rules": rules}, separators=(",", ":"))
    encoded = base64.b64encode(text.encode()).decode()
    html = f'<script type="text/plain" class="exercise-data">{encoded}</script>'
    doctree += nodes.raw("", html, format="html")


def _title(cell: nodes.Element) -> str:
    """Of the exercise that stands before the cell."""
    siblings = cell.parent.children[: cell.parent.index(cell)]
    found = [one for one in siblings if isinstance(one, nodes.Admonition)]
    return found[-1].next_node(nodes.title).astext() if found else ""


def _such_as(kind: str) -> str:
    """What a reader may type, as the field says it."""
    return {
        "numbers": "16/3, [18, 12]",
        "word": _("a word"),
        "flags": _("True, False, ..."),
        "letters": _("letters, or none"),
    }[kind]


def _field(name: str, rule: dict[str, Any], title: str, number: int) -> str:
    """The field of one check; with a `number` where the exercise has several."""
    part = f" (<code>{escape(name.partition('.')[2])}</code>)" if number else ""
    named = f"{title} ({number})" if number else title
    return (
        f'<form class="exercise-field" data-name="{escape(name)}" aria-label="{escape(named)}">'
        f"<label><span>{escape(_('Your answer'))}{part}</span> "
        f'<input type="text" autocomplete="off" autocapitalize="none" spellcheck="false"'
        f' placeholder="{escape(_such_as(rule["kind"]))}"></label> '
        f"<button>{escape(_('Check it'))}</button><output></output></form>"
    )


def _load(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, object], doctree: object
) -> None:
    if "answers" in app.env.metadata.get(pagename, {}) or pagename == "learn/index":
        app.add_js_file(_NAMES, loading_method="defer")
        app.add_js_file("exercises.js", loading_method="defer")


def _write(app: Sphinx, builder: Any) -> None:
    """Before a page tells the digest of the file."""
    if builder.format == "html":
        static = Path(app.outdir, "_static")
        static.mkdir(parents=True, exist_ok=True)
        names = json.dumps(_names(app), separators=(",", ":"))
        (static / _NAMES).write_text(f"const gradbookExercises = {names};\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.setup_extension("execution.kept")
    app.connect("env-before-read-docs", _import_once)
    app.connect("doctree-read", _ask)
    app.connect("doctree-resolved", _put, priority=_AFTER_THE_SEARCH)
    app.connect("html-page-context", _load)
    app.connect("write-started", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
