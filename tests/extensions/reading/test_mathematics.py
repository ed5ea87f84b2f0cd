"""Tests of reading/mathematics.py on a tiny site."""

import hashlib
import re

import pytest

from reading.mathematics import to_mathml
from sites import DOCS, Site

PAGE = r"""
# Formulas

Inline $w^2$, a block

$$\frac{\partial L}{\partial w}$$

two lines

$$
a &= 1 \\
b &= 2
$$

a numbered one

```{math}
:label: loss

L = \sum_i e_i
```

of which {eq}`loss` speaks, one with an environment of its own,

\begin{align}
c &= 3 \\
d &= 4
\end{align}

two at once,

```{math}
p = 1

q = 2
```

and a wrong one: $\frac{1$.
"""


@pytest.fixture(scope="module")
def formulas(make_site) -> tuple[str, str, Site]:
    """The built page, the log of its build, and the site."""
    settings = f"""
extensions = ["myst_nb", "reading.mathematics", "execution.notebooks"]
html_static_path = [{str(DOCS / "_static")!r}]
"""
    site = make_site(settings, formulas=PAGE, plain="# No mathematics\n")
    build = site.build()
    assert build.code == 1, "one formula is wrong"
    return site.html("formulas"), build.log, site


def test_formulas_are_mathml(formulas):
    """Browsers draw it without a script, and screen readers read it."""
    html, _, _ = formulas
    assert "<msup><mi>w</mi>" in html
    assert re.search(r'<math display="block"[^>]*>.*<mfrac', html)
    assert r"\(" not in html
    assert "katex" not in html.lower()
    assert "mathjax.js" not in html.lower()


def test_lines_are_aligned(formulas):
    """Two lines, two formulas, and an environment of AMS become the rows of a table."""
    html, _, _ = formulas
    tables = re.findall(r"<mtable.*?</mtable>", html, re.DOTALL)
    assert [table.count("<mtr") for table in tables] == [2, 2, 2]


def test_a_labelled_formula_has_a_number_and_a_link(formulas):
    """Text refers to it by that number."""
    html, _, _ = formulas
    assert re.search(r'id="equation-loss".*?<span class="eqno">\(1\)', html, re.DOTALL)
    assert 'href="#equation-loss">(1)</a>' in html


def test_a_wrong_formula_fails_the_build(formulas):
    """It is named by page and line, and shown as it was written."""
    html, log, site = formulas
    line = site.line("formulas", r"and a wrong one: $\frac{1$.")
    assert f"formulas.md:{line}: WARNING: this formula is not well formed" in log
    assert log.count("is not well formed") == 1
    assert r"<code>\frac{1</code>" in html


def test_only_pages_with_mathematics_load_its_style_and_font(formulas):
    """Other pages are lighter by 20 kB."""
    html, _, site = formulas
    for name in ("temml.css", "math.woff2"):
        assert name in html
        assert name not in site.html("plain")


def test_temml_is_the_file_that_its_authors_published():
    """Code of others stays as it is: `dist/temml.min.js` of Temml 0.13.5 on npm."""
    script = (DOCS / "_extensions" / "reading" / "temml" / "temml.min.js").read_bytes()
    published = "1ab19148afe0dbc836b7a74f344071b3f3a70a7a8259ae4049e76894fcdf8d95"
    assert hashlib.sha256(script).hexdigest() == published


def test_an_error_says_what_is_wrong():
    """The reason is Temml's own, without its stack."""
    with pytest.raises(ValueError, match="end of input") as info:
        to_mathml(r"\frac{1")
    assert "\n" not in str(info.value)


def test_a_gradient_has_its_own_colour():
    """The derivative of a loss or an output; not that of one step, and no operator."""
    for tex in (r"\frac{dJ}{dw}", r"\frac{\partial\,\mathrm{out}}{\partial x_i}"):
        assert '<mfrac class="gradient">' in to_mathml(tex)
    assert '<mfrac class="gradient">' in to_mathml(r"\frac{\partial L}{\partial \bar z}")
    for tex in (r"\frac{\partial z_i}{\partial y_i}", r"\frac{d}{dw}", r"\frac{J}{w}"):
        assert "gradient" not in to_mathml(tex)
    with pytest.raises(ValueError, match="not trusted"):
        to_mathml(r"\includegraphics{x}")
