"""Tests of publishing/compact.py: styles and scripts become small and do the same."""

import pytest
import quickjs

from gradbook.see.display import assets
from publishing import compact
from sites import DOCS

SCRIPTS = [
    *DOCS.joinpath("_static").glob("*.js"),
    *DOCS.joinpath("_extensions", "publishing").rglob("*.js"),
]
SETTINGS = f"""
extensions = ["myst_nb", "execution.notebooks", "publishing.compact"]
html_static_path = [{str(DOCS / "_static")!r}]
html_css_files = ["gradbook.css"]
"""


TEXTS = {path.name: path.read_text("utf-8") for path in SCRIPTS} | {"player": assets.script()}


@pytest.mark.parametrize("name", TEXTS)
def test_a_short_script_is_well_formed(name):
    """Whatever of the language it uses; nothing is left to be taken away."""
    short = compact.script(TEXTS[name])
    assert len(short) < len(TEXTS[name])
    quickjs.Context().eval(f"(() => {{\n{short}\n}})")
    assert compact.script(short) == short


def test_a_short_script_computes_the_same():
    """Also where slashes and stars are no comment: in expressions and in templates."""
    texts = '`${[1, 2].map((x) => `<${x}>`).join(" // ")}`'
    script = f"// Why\nJSON.stringify([ /[*/]{{2}}/.test('a**b'), {texts} ]); /* because */"
    values = [quickjs.Context().eval(one) for one in (script, compact.script(script))]
    assert values == ['[true,"<1> // <2>"]'] * 2


def test_what_a_style_sheet_says_stays():
    """Spaces that mean something, texts, and the colours of a terminal alone go."""
    kept = 'a :is(b,c)>d{width:calc(1rem + (2px - 1em));content:"✓ " / ""}'
    long = kept.replace(">", " > ").replace("{", " {\n  ").replace(";", ";\n  ")
    terminal = "div.highlight .-Color[class*=-C12] {\n  color: #00AF87\n}\n"
    assert compact.style(f"/* Why */\n{terminal}{long}\n") == kept


def test_a_site_is_built_twice(make_site):
    """The second time over what the first one left."""
    site = make_site(SETTINGS, leaf="# Leaf\n")
    static = site.folder / "site" / "html" / "_static"
    for _ in range(2):
        done = site.build("--fresh-env")
        assert done.code == 0, done.log
        (own,) = static.glob("mystnb.*.css")
        assert "-Color" not in own.read_text("utf-8")
        assert "/*" not in (static / "gradbook.css").read_text("utf-8")
