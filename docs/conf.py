"""Configuration of the site; whatever needs more than a setting is an extension with a test."""

import os
import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

from execution.stamp import stamp  # noqa: E402 -- found through the line above
from gradbook.understand import catalogue  # noqa: E402 -- as above

project = "Gradbook"
author = "The Gradbook authors"
project_copyright = "2026, The Gradbook authors"
release = metadata.version("gradbook")
language = "en"
locale_dirs = ["locale"]
gettext_compact = False  # a file of messages for each page

extensions = [
    "execution.warm_kernels",  # the first, to have a head start
    "myst_nb",
    "sphinx_copybutton",
    "execution.batches",
    "execution.notebooks",
    "reading.accessible",
    "reading.checked",
    "reading.clinic",
    "reading.collected",
    "reading.docstrings",
    "reading.entries",
    "reading.exercises",
    "reading.mathematics",
    "reading.path",
    "reading.players",
    "reading.stubs",
    "reading.terms",
    "reading.translation",
    "publishing.announcing",
    "publishing.compact",
    "publishing.downloads",
    "publishing.hosting",
    "publishing.languages",
    "publishing.plain_text",
    "publishing.search",
    "publishing.sharing",
    "publishing.snippets",
]
exclude_patterns = ["_build", "conftest.py"]
nitpicky = True

# Text
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Execution: every page runs; a failing cell is a warning, and warnings are errors.
nb_execution_mode = "cache"
# Outside of docs/ and keyed by all that can change an output, so that it is never stale.
_stamp = stamp(HERE.parent / "src", HERE / "_data", HERE / "examples")
nb_execution_cache_path = str(HERE.parent / ".cache" / "notebooks" / _stamp)
warm_kernels_now = not Path(nb_execution_cache_path).exists()
os.environ["GRADBOOK_DATA"] = str(HERE / "_data")  # for the cells that read a file
_found = str(HERE / "examples"), os.environ.get("PYTHONPATH", "")  # the first for those that draw
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, _found))
kept_path = str(HERE.parent / ".cache" / "kept" / _stamp)  # what was found in each page's cells
snippets_path = str(HERE.parent / ".cache" / "snippets" / _stamp)  # what was proved of each cell
nb_execution_in_temp = True
nb_execution_raise_on_error = False  # else the build stops at the first failing page
nb_execution_show_tb = True
nb_execution_timeout = 120
nb_merge_streams = True
# Loaded once for all kernels (with ipykernel): what most pages import, and what that imports late.
warm_kernels_modules = [
    "torch",
    "torch._dynamo",  # by the first optimizer
    "torch.func",
    "torch.utils.checkpoint",
    "matplotlib.pyplot",
    "matplotlib.backends.backend_svg",
    # Of gradbook whatever is behind its face, which imports a name when it is asked for.
    "gradbook.check",
    "gradbook.see.replay",
    "gradbook.train.loop",
    "gradbook.understand.compare",
    "gradbook.understand.notes",
    "pictures",
]
# They start processes, one after the other; the reference imports torch to read docstrings.
batches_longest = [
    *("deeper/distributed", "reference/api"),
    *("clinic/traps/distributed", "clinic/errors/distributed"),
    *("howto/resume-training", "howto/explain-errors"),
    "learn/digits",
]
# They show what is collected from all pages, so they are written again when that changes.
collected_shown = ["about/checking", "reference/api", "reference/versions"]
nb_render_markdown_format = "myst"  # tables that cells make; CommonMark has none
nb_ipywidgets_js = {}  # the default loads scripts from another host
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"

# Copy buttons stand on code, not on its output.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_selector = "div:is(.cell_input, .doctest, [class*=highlight-py], .highlight-console) pre"

# Look
html_theme = "furo"
html_title = "Gradbook"
html_logo, html_favicon = "_static/logo.svg", "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files, html_js_files = ["gradbook.css"], [("gradbook.js", {"defer": "defer"})]
html_show_sourcelink = html_copy_source = False
html_context = {"torch_version": metadata.version("torch").partition("+")[0]}
templates_path = ["_templates"]
html_baseurl = os.environ.get("GRADBOOK_BASEURL") or catalogue.BASE_URL
redirects: dict[str, str] = {}  # of a page that moved: {"learn/old-name": "new-name.html"}
