"""Every page of the built site, at the width of a phone and of a desk."""

from conftest import limit


def test_axe_finds_nothing(visit):
    """No rule of axe is broken, in light and in dark, with everything unfolded."""
    assert visit.violations == []


def test_nothing_comes_from_another_host(visit):
    """A page works without a network beyond its own host, and tells nobody of its reader."""
    assert visit.outside == []


def test_the_console_is_clean(visit):
    """No script fails, and no file is missing."""
    assert visit.errors == []


def test_nothing_moves_while_the_page_loads(visit):
    """The cumulative layout shift is far below 0.1, the limit of what counts as good."""
    assert visit.shift < 0.02


def test_the_page_is_light(visit):
    """Compressed, with all that a first visit loads; the few that are heavier say why."""
    assert visit.weight <= 1000 * limit(visit.name)[0]


def test_the_page_does_not_scroll_sideways(visit):
    """What is wide scrolls in a box of its own."""
    assert visit.sideways <= 0


def test_every_figure_has_a_text(visit):
    """Images and drawings are named, or said to be decoration."""
    assert visit.unnamed == []
