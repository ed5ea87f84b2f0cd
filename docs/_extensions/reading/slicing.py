"""Find what a cell of a page needs of the cells before it.

beniget says to which definition a name refers. What it does not know is added here: a statement
also needs what changed its objects. `backward()` writes the gradients of what the loss was computed
from, a step changes the parameters behind the optimizer, a draw of random numbers depends on the
seed and on the draws before it (`effects`).

Nobody can know from the code alone what a call changes. So there are several answers, from a lean
one to everything that stands above; the first that is seen to work is taken.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import beniget
import gast

from reading.effects import Effects, Names, effects, immediate


class Scope(IntEnum):
    """How much counts as needed.

    Attributes:
        LEAN: definitions, what is changed under its own name, and steps of optimizers. Of random
            numbers the seed alone.
        DRAWS: and all draws since the seed.
        GRADIENTS: and whatever a change may reach: what its object was computed from.
        ALIASES: and what was computed from a changed object, which may share its memory.
        CELLS: and the rest of each cell of which a part is needed.
        ALL: every cell before.
    """

    LEAN = 0
    DRAWS = 1
    GRADIENTS = 2
    ALIASES = 3
    CELLS = 4
    ALL = 5


# Beside names, what a statement can depend on.
_RANDOM, _FILES, _SETTINGS = "<random>", "<files>", "<settings>"


@dataclass(eq=False)
class Statement:
    """A statement of a page, as far as others depend on it.

    Attributes:
        cell: in which it stands, from 0.
        first: its first line in the cell, from 1.
        last: its last line.
        node: of its syntax tree.
        defines: the names that it binds.
        uses: of each name that it reads, the statements that may have bound it.
        later: names that are read when a function that it defines is called.
        does: beside binding names.
    """

    cell: int
    first: int
    last: int
    node: gast.AST
    defines: set[str] = field(default_factory=set)
    uses: dict[str, set[int]] = field(default_factory=dict)
    later: set[str] = field(default_factory=set)
    does: Effects = field(default_factory=Effects)


@dataclass(frozen=True)
class Piece:
    """A part of a snippet: lines of a cell.

    Attributes:
        cell: from 0.
        first: line of the cell, from 1.
        last: line of the cell.
        text: the lines; of an import, only the names that are needed.
    """

    cell: int
    first: int
    last: int
    text: str


class _Chains(beniget.DefUseChains):
    def unbound_identifier(self, name: str, node: gast.AST) -> None:
        """Say nothing: a name may be bound by a cell that is not shown, or by a function."""


class Page:
    """The cells of a page, and what each of them needs.

    Args:
        cells: the sources of the cells that a reader sees, in order.

    Raises:
        SyntaxError: a cell is not Python.

    >>> page = Page(["import torch", "x = torch.ones(2)", "y = 3", "x.add_(1)", "print(x)"])
    >>> print(page.snippet(4, Scope.LEAN))
    import torch
    <BLANKLINE>
    x = torch.ones(2)
    <BLANKLINE>
    x.add_(1)
    <BLANKLINE>
    print(x)
    """

    def __init__(self, cells: Sequence[str]) -> None:
        self.cells = [cell.strip("\n").split("\n") for cell in cells]
        starts = [0]
        for lines in self.cells:
            starts.append(starts[-1] + len(lines))
        tree = gast.parse("\n".join(line for lines in self.cells for line in lines) + "\n")
        self.statements: list[Statement] = []
        cell = 0
        for node in tree.body:
            first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
            while starts[cell + 1] < first:
                cell += 1
            lines = first - starts[cell], node.end_lineno - starts[cell]
            self.statements.append(Statement(cell, *lines, node))
        self._bound: dict[str, list[int]] = {}
        self._resolve(tree)
        for index, statement in enumerate(self.statements):
            statement.does = effects(statement.node, self._names(index))
        self._changed_by: dict[tuple[int, Scope], dict[str, bool]] = {}

    def snippet(self, cell: int, scope: Scope) -> str:
        """The cell, and before it what it needs."""
        return "".join(join([*self.needs(cell, scope), self.whole(cell)]))

    def whole(self, cell: int) -> Piece:
        """A cell as it stands on the page."""
        lines = self.cells[cell]
        return Piece(cell, 1, len(lines), "\n".join(lines))

    def needs(self, cell: int, scope: Scope, without: Collection[int] = ()) -> tuple[Piece, ...]:
        """Earlier parts of the page on which a cell depends, in the order of the page.

        Args:
            cell: from 0.
            scope: how much counts as needed.
            without: statements whose changes do not count, see `changes`.
        """
        if scope is Scope.ALL:
            return tuple(self.whole(one) for one in range(cell) if self.cells[one] != [""])
        taken = _Search(self, cell, scope, without).taken
        if scope is Scope.CELLS:
            found = {self.statements[index].cell for index in taken}
            return tuple(self.whole(one) for one in sorted(found))
        return tuple(self._pieces(taken))

    def changes(self, cell: int, scope: Scope) -> tuple[int, ...]:
        """Statements that a cell needs for what they change alone, as far as the code says.

        Nobody reads what they bind, and they neither seed, nor set, nor write a file. Whether the
        cell feels the change, a run can tell.
        """
        if scope >= Scope.CELLS:
            return ()
        taken = _Search(self, cell, scope).taken
        return tuple(
            index
            for index, names in sorted(taken.items())
            if not names and not self._is_felt_elsewhere(self.statements[index].does)
        )

    @staticmethod
    def _is_felt_elsewhere(does: Effects) -> bool:
        return does.seeds or does.sets or does.writes_files

    def mentioned(self, cell: int) -> set[str]:
        """The names of the page that a cell binds or reads, in its functions too."""
        own = [one for one in self.statements if one.cell == cell]
        return set().union(*({*one.defines, *one.uses, *one.later} for one in own))

    def _pieces(self, taken: dict[int, set[str]]) -> Iterator[Piece]:
        last: Piece | None = None
        for index in sorted(taken):
            one = self.statements[index]
            text = "\n".join(self.cells[one.cell][one.first - 1 : one.last])
            if isinstance(one.node, gast.Import | gast.ImportFrom):
                text = _imported(one.node, taken[index]) or text
            if last is not None and last.cell == one.cell and one.first <= last.last:
                # Two statements in one line.
                first, until = last.first, max(last.last, one.last)
                text = "\n".join(self.cells[one.cell][first - 1 : until])
                last = Piece(one.cell, first, until, text)
                continue
            if last is not None:
                yield last
            last = Piece(one.cell, one.first, one.last, text)
        if last is not None:
            yield last

    # Who refers to whom

    def _resolve(self, tree: gast.Module) -> None:
        """Ask beniget which definitions each name may refer to."""
        chains = _Chains("<page>")
        chains.visit(tree)
        found = beniget.UseDefChains(chains).chains
        place = {
            id(node): index
            for index, statement in enumerate(self.statements)
            for node in gast.walk(statement.node)
        }
        bound = [one for one in chains.locals[tree] if id(one.node) in place]
        # `x += 1` binds `x` too, says beniget, but does not list it.
        bound += [
            chains.chains[node.target]
            for statement in self.statements
            if not isinstance(statement.node, gast.ClassDef)
            for node in immediate(statement.node)
            if isinstance(node, gast.AugAssign) and isinstance(node.target, gast.Name)
        ]
        ours = {id(one) for one in bound}
        for one in bound:
            self.statements[place[id(one.node)]].defines.add(one.name())
        for index, statement in enumerate(self.statements):
            for name in statement.defines:
                self._bound.setdefault(name, []).append(index)
        for index, statement in enumerate(self.statements):
            now = {id(node) for node in immediate(statement.node)}
            defines_only = isinstance(statement.node, gast.FunctionDef | gast.ClassDef)
            for node in gast.walk(statement.node):
                if not isinstance(node, gast.Name) or node.id not in self._bound:
                    continue
                definitions = found.get(node, [])
                if isinstance(node.ctx, gast.Store | gast.Param) and not definitions:
                    continue
                if definitions and not any(id(one) in ours for one in definitions):
                    continue  # local to a function, or built in
                if id(node) not in now:
                    statement.later.add(node.id)
                    if defines_only:
                        continue
                above = {place[id(one.node)] for one in definitions if id(one) in ours}
                above = {one for one in above if one < index}
                if id(node) not in now or not definitions:
                    above |= self.last(node.id, index)
                above = self._with_submodules(node.id, above)
                if above:
                    statement.uses.setdefault(node.id, set()).update(above)

    def last(self, name: str, before: int) -> set[int]:
        """The statement that bound `name` last, before another; empty if there is none."""
        places = [place for place in self._bound.get(name, ()) if place < before]
        return self._with_submodules(name, set(places[-1:]))

    def _with_submodules(self, name: str, places: set[int]) -> set[int]:
        """With what `import torch.func` adds to an `import torch`, before or after it."""
        if not any(isinstance(self.statements[place].node, gast.Import) for place in places):
            return places
        return places | {
            place
            for place in self._bound[name]
            if place < max(places) and _adds_to(self.statements[place].node, name)
        }

    def _names(self, index: int) -> Names:
        """What names stand for where a statement stands."""

        def bound(name: str) -> Statement | None:
            place = max(self.last(name, index + 1), default=None)
            return None if place is None else self.statements[place]

        def is_module(name: str) -> bool:
            one = bound(name)
            return one is not None and isinstance(one.node, gast.Import | gast.ImportFrom)

        def definition(name: str) -> gast.AST | None:
            one = bound(name)
            if one is None:
                return None
            if isinstance(one.node, gast.FunctionDef | gast.ClassDef):
                return one.node
            return one.node.value if _is_lambda(one.node) else None

        def maker(name: str) -> gast.AST | None:
            one = bound(name)
            if one is None or not isinstance(one.node, gast.Assign):
                return None
            made = one.node.value
            if not (isinstance(made, gast.Call) and isinstance(made.func, gast.Name)):
                return None
            made_by = definition(made.func.id) if made.func.id != name else None
            return made_by if isinstance(made_by, gast.ClassDef) else None

        return Names(is_module, definition, maker)

    # What changes what

    def changed_by(self, index: int, scope: Scope) -> dict[str, bool]:
        """What a statement changes: names, and whether it is about gradients alone."""
        known = self._changed_by.get((index, scope))
        if known is not None:
            return known
        statement = self.statements[index]
        found: dict[str, bool] = {}
        if statement.does.raises and scope < Scope.GRADIENTS:
            return found
        for change in statement.does.changes:
            if not change.sure and scope < Scope.GRADIENTS:
                continue
            deep = change.behind or scope >= Scope.GRADIENTS
            for name in self.reach(change.name, index) if deep else {change.name}:
                found[name] = found.get(name, True) and change.gradients
        if scope >= Scope.ALIASES:
            for name in [*self._bound]:
                if name not in found and (touched := self.reach(name, index) & set(found)):
                    found[name] = all(found[one] for one in touched)
        if statement.does.draws or statement.does.draws_later or self._uses_drawing(statement):
            found[_RANDOM] = False
        if statement.does.writes_files:
            found[_FILES] = False
        if statement.does.sets:
            found[_SETTINGS] = False
        self._changed_by[index, scope] = found
        return found

    def reach(self, name: str, at: int) -> set[str]:
        """The name and, by their present names, the objects that it was computed from."""
        found, seen, left = {name}, set(), [(name, at)]
        while left:
            one = left.pop()
            if one in seen:
                continue
            seen.add(one)
            for place in self.last(*one):
                statement = self.statements[place]
                if isinstance(statement.node, gast.Import | gast.ImportFrom):
                    continue
                for other in {*statement.uses, *self._read_by(statement, place)}:
                    if self.last(other, at) == self.last(other, place):
                        found.add(other)
                    left.append((other, place))
        return {
            one
            for one in found
            if not any(
                isinstance(self.statements[place].node, gast.Import | gast.ImportFrom)
                for place in self.last(one, at)
            )
        }

    def _read_by(self, statement: Statement, at: int) -> set[str]:
        """What the functions that a statement calls read from the page."""
        return {
            name
            for mention in statement.does.mentions
            for place in self.last(mention, at)
            for name in self.statements[place].later
        }

    def _uses_drawing(self, statement: Statement) -> bool:
        """Whether it uses what draws each time: dropout, a loader that shuffles."""
        return any(
            self.statements[place].does.draws_later
            for places in statement.uses.values()
            for place in places
        )

    def draws(self, statement: Statement) -> bool:
        """Whether it draws random numbers."""
        return statement.does.draws or self._uses_drawing(statement)

    def behind(self, place: int, at: int) -> set[str]:
        """Names that are read when the function or object that a statement binds is called.

        Args:
            place: of the statement.
            at: place of the call: functions of the page are looked up then.
        """
        found, seen, left = set(), set(), [place]
        while left:
            one = left.pop()
            if one in seen:
                continue
            seen.add(one)
            statement = self.statements[one]
            found |= statement.later
            for name in statement.later:
                left += self.last(name, at)
            for name in statement.does.hands_on:
                left += self.last(name, one)
        return found


class _Search:
    """Collects the statements that a cell needs."""

    def __init__(self, page: Page, cell: int, scope: Scope, without: Collection[int] = ()) -> None:
        self.page = page
        self.scope = scope
        self._without = without
        self.taken: dict[int, set[str]] = {}
        self._asked: set[tuple[str, int, bool]] = set()
        own = [n for n, one in enumerate(page.statements) if one.cell == cell]
        self._start = own[0] if own else 0
        self._left = own
        while self._left:
            self._need(self._left.pop())

    def _take(self, index: int, name: str | None = None) -> None:
        if index >= self._start or (name is None and index in self._without):
            return
        if index not in self.taken:
            self.taken[index] = set()
            self._left.append(index)
        if name is not None:
            self.taken[index].add(name)

    def _need(self, index: int) -> None:
        """Ask for all that a statement needs."""
        page, statement = self.page, self.page.statements[index]
        looks = statement.does.looks or self.scope >= Scope.GRADIENTS
        for name, places in statement.uses.items():
            clears = name in statement.does.clears
            self._ask(name, index, places, looks=looks and not clears)
        for change in statement.does.changes:
            if change.behind and not change.gradients:  # a step reads what lies behind, too
                for name in page.reach(change.name, index) - {change.name}:
                    self._ask(name, index, page.last(name, index), looks=True)
        for mention in statement.does.mentions:
            for place in page.last(mention, index):
                for name in page.behind(place, index):
                    self._ask(name, index, page.last(name, index), looks=looks)
        if statement.does.reads_files:
            self._ask(_FILES, index, set(), looks=True)
        self._ask(_SETTINGS, index, set(), looks=True)
        if page.draws(statement):
            seeds = [n for n in range(index) if page.statements[n].does.seeds]
            for seed in seeds[-1:]:
                self._take(seed)
                if self.scope >= Scope.DRAWS:
                    self._ask(_RANDOM, index, {seed}, looks=True)

    def _ask(self, name: str, index: int, places: set[int], *, looks: bool) -> None:
        """Take what bound `name`, and what changed it since, before a statement."""
        if (name, index, looks) in self._asked:
            return
        self._asked.add((name, index, looks))
        places = {self._before_failure(name, place) for place in places}
        for place in places:
            self._take(place, name)
        since = range(min(places, default=-1) + 1, index)
        clears = [n for n in since if name in self.page.statements[n].does.clears]
        for between in since[: max(self._start - since.start, 0)]:
            gradients_only = self.page.changed_by(between, self.scope).get(name)
            if gradients_only and (not looks or between < max(clears, default=0)):
                continue
            if gradients_only is not None:
                self._take(between)

    def _before_failure(self, name: str, place: int) -> int:
        """What a block that must fail would have bound, it has not, as a rule."""
        statement = self.page.statements[place]
        if not statement.does.raises or self.scope >= Scope.GRADIENTS:
            return place
        kept = {
            one.id
            for item in getattr(statement.node, "items", [])
            if item.optional_vars is not None
            for one in gast.walk(item.optional_vars)
            if isinstance(one, gast.Name)
        }
        return place if name in kept else max(self.page.last(name, place), default=place)


def join(pieces: Iterable[Piece]) -> Iterator[str]:
    """The text of each piece, with what parts it from the one before.

    Lines that are neighbours on the page stay so; around functions and classes stand two lines.
    """
    last: Piece | None = None
    for piece in pieces:
        between = ""
        if last is not None:
            near = last.cell == piece.cell and piece.first - last.last == 1
            large = any(one.text.startswith(("def ", "class ", "@")) for one in (last, piece))
            imports = all(one.text.startswith(("import ", "from ")) for one in (last, piece))
            between = "\n" if near or imports else "\n\n\n" if large else "\n\n"
        last = piece
        yield between + piece.text


def _imported(node: gast.AST, names: set[str]) -> str:
    """An import of those of its names that are needed."""
    kept = [one for one in node.names if (one.asname or one.name).split(".")[0] in names]
    if not kept or len(kept) == len(node.names):
        return ""
    if isinstance(node, gast.Import):
        return gast.unparse(gast.Import(names=kept)).strip()
    shorter = gast.ImportFrom(module=node.module, names=kept, level=node.level)
    return gast.unparse(shorter).strip()


def _adds_to(node: gast.AST, name: str) -> bool:
    """Whether it imports a module inside the module `name`."""
    return isinstance(node, gast.Import) and any(
        one.asname is None and one.name.startswith(f"{name}.") for one in node.names
    )


def _is_lambda(node: gast.AST) -> bool:
    return isinstance(node, gast.Assign) and isinstance(node.value, gast.Lambda)
