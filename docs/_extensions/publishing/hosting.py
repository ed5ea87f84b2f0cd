"""What depends on where the site stands: the page for a wrong address, redirects, edit links.

`html_baseurl` is the address of the site. The address of the sources is not the book's to know: the
workflow that publishes it says so in GRADBOOK_REPOSITORY (and GRADBOOK_BRANCH); without it pages
have no link to edit them, to their source, or to report a problem. What is edited of a translated
page is its translation; its source is the English page. A page that moves gets a line in the table
`redirects`.
"""

import os
import posixpath
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from sphinx.application import Sphinx
from sphinx.config import Config

_HOSTS = ("https://github.com/", "https://gitlab.com/", "https://bitbucket.org/")  # Furo knows them
_REDIRECT = Path(__file__).parents[2] / "_templates" / "redirect.html"


def _locate(app: Sphinx, config: Config) -> None:
    config.redirect_html_template_file = str(_REDIRECT)  # with a title and a language
    # The page for a wrong address is served at any depth: its paths begin at the root.
    config.notfound_template = "404.html"
    config.notfound_urls_prefix = urlsplit(config.html_baseurl).path.rstrip("/") + "/"
    repository = os.environ.get("GRADBOOK_REPOSITORY", "").removesuffix(".git")
    if repository.startswith(_HOSTS):
        config.html_theme_options = {
            **config.html_theme_options,
            "source_repository": repository,
            "source_branch": os.environ.get("GRADBOOK_BRANCH") or "main",
            "source_directory": "docs/",
            "top_of_page_buttons": ["edit"],
        }


def _add_links(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Tell the template of a page where its source is, and where a problem is reported."""
    options = app.config.html_theme_options
    repository = options.get("source_repository")
    if not repository or doctree is None:
        return
    suffix = context["page_source_suffix"]
    place = f"{options['source_branch']}/docs/{page}{suffix}"
    messages = f"locale/{app.config.language}/LC_MESSAGES"
    translation = f"{page}{suffix.rpartition('.')[0]}.po"
    if Path(app.srcdir, messages, posixpath.normpath(translation)).exists():
        # The theme makes the link to edit a page of these.
        context["theme_source_directory"] = f"docs/{messages}/"
        context["page_source_suffix"] = translation.removeprefix(page)
    address = context.get("pageurl") or page
    if repository.startswith("https://github.com/"):
        form = "message.yml" if page == "clinic/index" else "claim.yml"
        asked = {"template": form} | ({"place": address} if form == "claim.yml" else {})
        context["source_of_page"] = f"{repository}/blob/{place}"
        context["report_problem"] = f"{repository}/issues/new?{urlencode(asked)}"
    elif repository.startswith("https://gitlab.com/"):
        asked = {"issue[title]": address}
        context["source_of_page"] = f"{repository}/-/blob/{place}"
        context["report_problem"] = f"{repository}/-/issues/new?{urlencode(asked)}"
    else:
        context["source_of_page"] = f"{repository}/src/{place}"
        context["report_problem"] = f"{repository}/issues/new"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.setup_extension("notfound.extension")
    app.setup_extension("sphinx_reredirects")
    app.connect("config-inited", _locate, priority=100)  # before notfound looks at its prefix
    app.connect("html-page-context", _add_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
