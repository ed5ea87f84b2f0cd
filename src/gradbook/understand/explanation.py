"""What `gradbook.explain` returns, as text and as HTML."""

from dataclasses import dataclass, field
from html import escape


@dataclass(frozen=True, repr=False)
class Explanation:
    """What was found; it holds texts only, so it keeps nothing alive.

    Attributes:
        code: stable name of the situation; for messages the id of their entry in the catalogue.
        title: what it is, in a few words.
        because: facts, those read off the object first.
        possible: where the cause is not known, those that are left, likeliest first.
        cure: what to do; one way in each line, the best first.
        url: address of the page about it.
        subject: name of the guilty variable, or of the tensor; None if it was not found.
        kind: "tensor", "module", "error", "warning" or "unknown".
        details: more, by name: the line, the node, versions, other names.
    """

    code: str
    title: str
    because: tuple[str, ...]
    cure: str
    url: str
    subject: str | None = None
    kind: str = "unknown"
    details: dict[str, str] = field(default_factory=dict)
    possible: tuple[str, ...] = ()

    def __str__(self) -> str:
        """A few lines for a terminal."""
        lines = [f"{self.code}: {self.title}"]
        for name, value in (("variable", self.subject), ("where", self.details.get("line"))):
            if value:
                lines.append(f"  {name}: {value}")
        lists = (
            ("because", self.because),
            ("one of these", self.possible),
            ("cure", tuple(self.cure.splitlines())),
        )
        for name, texts in lists:
            if texts:
                lines += [f"  {name}", *(f"    - {text}" for text in texts)]
        return "\n".join([*lines, f"  more: {self.url}"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        lists = "".join(
            f'<p style="margin:.4em 0 0"><strong>{name}</strong></p>'
            f'<ul style="margin:0">{"".join(f"<li>{_html(text)}</li>" for text in texts)}</ul>'
            for name, texts in (
                ("Because", self.because),
                ("One of these", self.possible),
                ("Cure", self.cure.splitlines()),
            )
            if texts
        )
        rows = "".join(
            f'<tr><th scope="row" style="text-align:left">{escape(name)}</th>'
            f'<td style="text-align:left"><code>{escape(value)}</code></td></tr>'
            for name, value in self.details.items()
        )
        more = f"<details><summary>Details</summary><table>{rows}</table></details>" if rows else ""
        subject = f": <code>{escape(self.subject)}</code>" if self.subject else ""
        return (
            f'<div class="gradbook-explain" style="{_STYLE}">'
            f'<p style="margin:0"><strong>{_html(self.title)}</strong>{subject}</p>'
            f'{lists}{more}<p style="margin:.4em 0 0"><a href="{escape(self.url)}">'
            f"{escape(self.code)}</a></p></div>"
        )

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self._repr_html_()}


# Colours of the page around, Sphinx or Jupyter or VS Code; else the browser's own.
_STYLE = (
    "border-left:.25em solid var(--color-brand-content,var(--jp-brand-color1,"
    "var(--vscode-textLink-foreground,#4062bb)));padding:.2em .8em;"
    "color:var(--color-foreground-primary,var(--jp-content-font-color1,"
    "var(--vscode-editor-foreground,inherit)))"
)


def _html(text: str) -> str:
    """Escaped, with what stands in backquotes as code."""
    parts = escape(text).split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return "".join(
        f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts)
    )
