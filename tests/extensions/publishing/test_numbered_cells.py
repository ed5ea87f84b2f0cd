"""Tests of publishing/cells.py: a cell is known wherever on the site it stands."""

from docutils import nodes
from docutils.utils import new_document

from publishing.cells import number, numbers


def page(*cells: nodes.container) -> nodes.document:
    """A page with cells."""
    document = new_document("page")
    document += cells
    return document


def test_a_cell_keeps_the_number_of_its_file():
    """An entry of the Clinic is cut from the file of its group, and is then read as a page."""
    cells = [nodes.container(nb_element="cell_code", classes=["cell"]) for _ in range(3)]
    whole = page(*cells)
    number(None, whole)
    assert list(numbers(whole)) == [0, 1, 2]
    part = page(cells[2].deepcopy(), cells[0].deepcopy())
    number(None, part)
    assert list(numbers(part)) == [2, 0]
    assert [cell["classes"] for cell in part.children] == [["cell", "cell-2"], ["cell", "cell-0"]]
