"""The numbers of a page's text, and the held lines that bind them to the run.

A held line is a MyST comment, which no reader sees. It stands after the text, in the same section:

    The gradient is 6, and after the second call 12.

    % held: g1 == 6, w.grad == 12

It is a tuple of expressions, evaluated in the namespace of the page after the cells above it. Each
must be true, and the numbers written in them are, in order, the numbers of the text since the last
held line. A string stands for a number that cannot come from the run, and gives the reason.
"""

import ast
import builtins
import html
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser
from sybil import Document, Example, Region

DOCS = Path(__file__).parents[1] / "docs"

# Pages whose numbers are not all held yet. A line of its own and an empty one for each, so that
# two people can take out theirs at the same time.
NOT_YET = """
about/benchmarks.md

about/changes.md

clinic/errors/backward.md

clinic/errors/checking.md

clinic/errors/checkpoint.md

clinic/errors/derivatives.md

clinic/errors/distributed.md

clinic/errors/func.md

clinic/errors/functions.md

clinic/errors/hooks.md

clinic/errors/in-place.md

clinic/errors/jacobians.md

clinic/errors/mixed-precision.md

clinic/errors/modules-and-optimizers.md

clinic/errors/shapes-and-dtypes.md

clinic/errors/tensors.md

clinic/errors/vmap.md

clinic/index.md

clinic/traps/alias.md

clinic/traps/cut.md

clinic/traps/distributed.md

clinic/traps/functions-and-hooks.md

clinic/traps/loop.md

clinic/traps/math.md

clinic/traps/memory.md

clinic/traps/optimizers.md

deeper/distributed.md

deeper/mixed-precision.md

howto/resume-training.md

index.md

learn/backward.md

learn/detach.md

learn/digits.md

learn/grad-fn.md

