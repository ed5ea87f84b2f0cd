"""Show the package's docstrings as its authors mean them.

They are written for the reader of the source: a name stands in single backquotes, as in Markdown,
where reStructuredText would want a role; types are those of torch and Python. This extension

- makes a link of a name that the API page describes, and code of any other;
- leaves out the signature of a class of results, which is made by functions only;
- leads names of torch and Python to their own documentation, by inventories in ``_inventories``, so
  that a build fetches none; ``intersphinx`` reads them;
- keeps docstrings out of translations: they are part of the code, and reStructuredText, which the
  translation of a Markdown page cannot be.
"""

import dataclasses
import re
from functools import cache
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.ext.intersphinx import resolve_reference_any_inventory
from sphinx.locale import _
from sphinx.transforms import SphinxTransform
from sphinx.util.inventory import InventoryFile

_NAME = re.compile(r"(?<![`:\w])`([^`]+)`(?![`_])")
_CALL = re.compile(r"[A-Za-z_][\w.]*")
_INVENTORIES = Path(__file__).parents[2] / "_inventories"
_SITES = {
    "matplotlib": "https://matplotlib.org/stable/",
    "python": "https://docs.python.org/3/",
    "torch": "https://docs.pytorch.org/docs/stable/",
}
# Where a class is defined is not where a reader imports it from.
_PUBLIC_NAMES = {
    "Axes": "matplotlib.axes.Axes",
    "torch._C.Generator": "torch.Generator",
    "torch.amp.grad_scaler.GradScaler": "torch.amp.GradScaler",
    "torch.nn.modules.module.Module": "torch.nn.Module",
    "torch.optim.optimizer.Optimizer": "torch.optim.Optimizer",
}
# Of the package, but not for readers: what they do is said in words.
_PRIVATE = {
    "gradbook.train.checkpoint._HasDict",
    "gradbook.see.lines.SourceLine",
    "gradbook.see.values.Operand",
}


def link_names(line: str, *, owner: str = "") -> str:
    """Make a role of each name in single backquotes: a link where it is public, else code.

    Args:
        line: of a docstring; what stands in double backquotes stays.
        owner: full name of the class whose docstring it is, for names of its members.

    >>> link_names("what `fit` does with `epochs`; ``None`` stays")
    'what :py:obj:`fit <gradbook.fit>` does with ``epochs``; ``None`` stays'
    """

    def role(match: re.Match[str]) -> str:
        text = match[1]
        target = _public(text, owner) if _CALL.fullmatch(text) else None
        return f":py:obj:`{text} <{target}>`" if target else f"``{text}``"

    return _NAME.sub(role, line)


def _public(name: str, owner: str) -> str | None:
    """The full name of a documented object; None for a parameter, an expression, a foreign name."""
    import gradbook  # imports torch: only for the API page

    name = name.removeprefix("gradbook.")
    first, __, member = name.partition(".")
    if first in gradbook.__all__:
        found = getattr(gradbook, first)
        documented = not member or (isinstance(found, type) and _is_member(found, member))
        return f"gradbook.{name}" if documented else None
    holder = getattr(gradbook, owner.rpartition(".")[2], None) if owner else None
    if isinstance(holder, type) and _is_member(holder, name):
        return f"{owner}.{name}"
    return name if name in _foreign_names() else None


@cache
def _foreign_names() -> frozenset[str]:
    """What the inventories have."""
    texts = (path.read_bytes() for path in _INVENTORIES.glob("*.txt"))
    found = (InventoryFile.loads(text, uri="").data for text in texts)
    return frozenset(name for inventory in found for names in inventory.values() for name in names)


def _is_member(holder: type, name: str) -> bool:
    value = vars(holder).get(name)
    # A field without a docstring of its own has no place to lead to.
    return bool(getattr(value, "__doc__", None)) and not _is_field(holder, name)


def _is_field(holder: type, name: str) -> bool:
    fields = dataclasses.fields(holder) if dataclasses.is_dataclass(holder) else ()
    return name in {field.name for field in fields}


def _rewrite(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    owner = name if what == "class" else name.rpartition(".")[0]
    lines[:] = [link_names(line, owner=owner) for line in lines]


def _keep_colon(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Have "what it is: more" described as such; Napoleon takes the first half for a type."""
    if what == "property":
        lines[:0] = ["..", ""]  # an empty comment


def _hide_signature(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str, returned: str
) -> tuple[str, None] | None:
    return ("", None) if what == "class" and dataclasses.is_dataclass(obj) else None


def _lead_outside(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Node
) -> nodes.Node | None:
    """Answer for a name that is not of the package."""
    if node.get("refdomain") != "py":
        return None
    target = _PUBLIC_NAMES.get(node["reftarget"], node["reftarget"])
    if target in _PRIVATE:
        return content
    if target not in _foreign_names():
        return None
    if content.astext() == node["reftarget"]:  # not a text of the author's
        content = nodes.inline("", target)
    # Annotations call everything a class, docstrings an object.
    node["reftype"], node["reftarget"] = "class", target
    return resolve_reference_any_inventory(env, False, node, content)


def _name_attributes(app: Sphinx, doctree: nodes.document) -> None:
    for content in doctree.findall(addnodes.desc_content):
        for name in content.findall(nodes.field_name):
            if name.astext() == _("Variables"):
                name[:] = [nodes.Text(_("Attributes"))]


class _KeepEnglish(SphinxTransform):
    """Before the translations are put in, which is also what gettext goes by."""

    default_priority = 5

    def apply(self, **_: object) -> None:
        """Mark all texts of descriptions."""
        for content in self.document.findall(addnodes.desc_content):
            for text in content.findall(nodes.TextElement):
                text["translatable"] = False


def _settle(app: Sphinx, config: Config) -> None:
    config.autodoc_member_order = "bysource"
    config.autodoc_typehints = "description"  # signatures stay short enough to read
    config.autodoc_typehints_description_target = "documented_params"
    config.autodoc_typehints_format = "short"
    config.intersphinx_mapping = {
        name: (site, str(_INVENTORIES / f"{name}.txt")) for name, site in _SITES.items()
    }
    config.napoleon_use_ivar = True  # attributes are a list, not an entry each


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.napoleon")
    app.setup_extension("sphinx.ext.intersphinx")
    app.add_transform(_KeepEnglish)
    app.connect("config-inited", _settle, priority=400)  # before intersphinx checks it
    app.connect("autodoc-process-docstring", _keep_colon, priority=400)  # Napoleon has 500
    app.connect("autodoc-process-docstring", _rewrite, priority=600)
    app.connect("autodoc-process-signature", _hide_signature)
    app.connect("doctree-read", _name_attributes)
    app.connect("missing-reference", _lead_outside)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
