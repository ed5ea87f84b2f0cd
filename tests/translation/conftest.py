"""The site in English and in the language of `pseudo`; `nox -s pseudo` builds both."""

import os
from pathlib import Path

# The session says where they lie; without them there is nothing to test.
SITES = [Path(os.environ.get(f"GRADBOOK_{name}", "absent")) for name in ("SITE", "PSEUDO_SITE")]
collect_ignore_glob = [] if all(site.is_dir() for site in SITES) else ["test_*.py"]
