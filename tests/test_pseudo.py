"""Tests of tests/pseudo.py and tests/reading.py: what finds a text that was not translated."""

import pytest
from babel.messages.pofile import read_po

import pseudo
from translated import broken, read, read_html, untranslated


@pytest.mark.parametrize(
    "kept",
    [
        "`x.grad`",
        "``a ` b``",
        "$x_i + 2$",
        "$$x$$",
        "](grad.md#x)",
        "](https://example.org/a_b)",
        "https://example.org/page",
        "{eq}`loss`",
        "<b>",
        "{count}",
        "%(path)s",
        "&ndash;",
        "[^note]",
    ],
)
def test_markup_is_kept(kept):
    """A translator leaves it as it is."""
    before = "[text" if kept.startswith("]") else "text "
    translated = pseudo.accent(f"{before}{kept} and more")
    assert kept in translated
    assert translated.endswith(f"{kept} áńď ḿóŕé⟧")


def test_the_title_of_a_reference_is_translated():
    """Not where it leads; any number of them."""
    translated = pseudo.accent("{ref}`the end <end>`, {ref}`top <a-b>`")
    assert translated == "⟦{ref}`ťĥé éńď <end>`, {ref}`ťóṕ <a-b>`⟧"


def test_messages_become_a_catalogue(tmp_path):
    """In a folder as Sphinx looks for it; Sphinx's own messages are with those of the site."""
    messages = tmp_path / "messages" / "learn"
    messages.mkdir(parents=True)
    (messages / "page.pot").write_text('msgid "One text"\nmsgstr ""\n', encoding="utf-8")
    (messages.parent / "sphinx.pot").write_text('msgid "Ours"\nmsgstr ""\n', encoding="utf-8")
    assert pseudo.translate(messages.parent, tmp_path) > 100
    folder = tmp_path / pseudo.LANGUAGE / "LC_MESSAGES"
    with (folder / "learn" / "page.po").open("rb") as file:
        assert read_po(file)["One text"].string == "⟦Óńé ťéẋť⟧"
    with (folder / "sphinx.po").open("rb") as file:
        catalogue = read_po(file)
    assert catalogue["Ours"].string == "⟦Óúŕś⟧"
    assert catalogue["Navigation"].string == "⟦Ńáṽíǧáťíóń⟧"


@pytest.mark.parametrize(
    ("html", "left"),
    [
        ("<p>⟦ťéẋť⟧</p>", []),
        ("<p>⟦ťéẋť⟧ text</p>", ["⟦ťéẋť⟧ text"]),
        ("<p>⟦ťéẋť <code>text</code>⟧</p><pre>text</pre><script>text</script>", []),
        ("<p>⟦á ⟦ƀ⟧ ć⟧ 3.5 x</p>", []),
        ('<svg aria-label="text"></svg>', ["text"]),
        ('<meta name="description" content="text">', ["text"]),
        ('<pre>loss = x</pre><svg class="gradbook-graph"><text>MulBackward0 loss</text></svg>', []),
        ("<pre>loss = x</pre><p>loss</p>", ["loss"]),
    ],
)
def test_what_is_left_in_english_is_found(html, left):
    """In texts and in attributes that are read aloud; code is not."""
    assert [text for _, text in untranslated(read_html(html))] == left


def test_a_link_without_an_end_is_found(tmp_path):
    """To a page or to a place in one; links to other sites are not followed."""
    (tmp_path / "file.txt").write_text("", encoding="utf-8")
    links = ["", "#a", "#b", "b.html", "b.html#x", "c.html", "file.txt", "https://a.org/x"]
    page = "".join(f'<a href="{link}">x</a>' for link in links)
    (tmp_path / "a.html").write_text(f'<h1 id="a"></h1>{page}', encoding="utf-8")
    (tmp_path / "b.html").write_text("", encoding="utf-8")
    pages = {path: read(path) for path in tmp_path.glob("*.html")}
    assert broken(pages, tmp_path) == ["a.html: #b", "a.html: b.html#x", "a.html: c.html"]
