"""These tests need the transformers library: `nox -s models` installs it."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("transformers") else ["test_*.py"]
