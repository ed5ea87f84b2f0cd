"""Tests of reading/docstrings.py: what the API page makes of the package's docstrings."""

import importlib
import re

import pytest
from docutils import nodes
from docutils.frontend import get_default_settings
from docutils.utils import new_document
from sphinx import addnodes

import gradbook
from reading import docstrings
from sites import DOCS

API = (DOCS / "reference" / "api.md").read_text("utf-8")


@pytest.fixture(scope="module")
def html(make_site):
    """A page about a few names, built with every warning an error."""
    site = make_site(
        'extensions = ["myst_nb", "execution.notebooks", "reading.docstrings"]\nnitpicky = False\n',
        api="""
# API

```{eval-rst}
.. autofunction:: gradbook.graph
.. autoclass:: gradbook.BackwardGraph
   :members:
.. autoclass:: gradbook.Node
.. autoclass:: gradbook.Edge
.. autoclass:: gradbook.GradientAccumulator
   :members:
```
""",
    )
    build = site.build()
    assert build.code == 0, build.log
    return site.html("api")


def test_every_public_name_is_on_the_page():
    """Modules as a whole."""
    described = set(re.findall(r"^\.\. auto\w+:: ([\w.]+)$", API, flags=re.MULTILINE))
    described |= {name.removeprefix("gradbook.") for name in described}
    assert set(gradbook.__all__) <= described


def test_the_page_of_the_book_has_nothing_else():
    """Whatever is described can be imported from the package."""
    module = gradbook
    for kind, name in re.findall(r"^\.\. (\w+):: ([\w.]+)$", API, flags=re.MULTILINE):
        if kind in ("automodule", "currentmodule"):
            module = importlib.import_module(name)
        else:
            assert hasattr(module, name), name


def test_a_public_name_is_a_link_and_a_parameter_is_code(html):
    """In the same docstring."""
    assert re.search(r'<a [^>]*href="#gradbook.BackwardGraph.nodes"', html)
    assert re.search(r'<a [^>]*href="#gradbook.GradientAccumulator.every"', html)
    assert '<code class="docutils literal notranslate"><span class="pre">clip_norm</span>' in html
    assert "<cite>" not in html


def test_names_of_torch_and_python_lead_to_their_documentation(html):
    """Under the name that a reader imports."""
    torch = "https://docs.pytorch.org/docs/stable/"
    assert f'href="{torch}tensors.html#torch.Tensor"' in html
    assert f'href="{torch}generated/torch.nn.Module.html#torch.nn.Module"' in html


def test_results_have_no_signature(html):
    """Nobody makes them; an accumulator is made."""
    node = re.search(r'id="gradbook.Node">(.*?)</dt>', html, flags=re.DOTALL)
    made = re.search(r'id="gradbook.GradientAccumulator">(.*?)</dt>', html, flags=re.DOTALL)
    assert "sig-paren" not in node[1]
    assert "optimizer" in made[1]


def test_attributes_are_called_so(html):
    """Sphinx calls them variables."""
    assert "Attributes" in html
    assert "Variables" not in html


def test_a_property_whose_text_has_a_colon_keeps_its_text(html):
    """Napoleon would take the words before it for a type."""
    assert "Micro-batches in the open window" in html
    assert "Micro-batches in the open window</em>" not in html


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("``fit`` stays", "``fit`` stays"),
        ("`fit` and `x`", ":py:obj:`fit <gradbook.fit>` and ``x``"),
        ("`ReplayStep.node` is a field", "``ReplayStep.node`` is a field"),
        ("`BackwardGraph.nodes`", ":py:obj:`BackwardGraph.nodes <gradbook.BackwardGraph.nodes>`"),
        ("`f(x)` is code", "``f(x)`` is code"),
        (":class:`Role` stays", ":class:`Role` stays"),
    ],
)
def test_single_backquotes(line, expected):
    """As Markdown means them."""
    assert docstrings.link_names(line) == expected


def test_docstrings_stay_out_of_translations():
    """They are code; the prose around them is translated."""
    document = new_document("page", get_default_settings())
    prose, inside = nodes.paragraph("", "prose"), nodes.paragraph("", "of a docstring")
    document += [prose, addnodes.desc_content("", inside)]
    docstrings._KeepEnglish(document).apply()
    assert inside["translatable"] is False
    assert "translatable" not in prose
