"""Tiny sites for the tests of the extensions."""

import pytest

from sites import Site


@pytest.fixture(scope="module")
def make_site(tmp_path_factory: pytest.TempPathFactory):
    """Make a `Site` in a new folder."""

    def make(settings: str = "", **pages: str) -> Site:
        return Site(tmp_path_factory.mktemp("site"), settings, **pages)

    return make
