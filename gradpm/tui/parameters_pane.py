"""The parameters in their modules, with what a backward left in each."""

from __future__ import annotations

import re
from typing import ClassVar

import numpy as np
from textual.binding import Binding, BindingType
from textual.message import Message

from gradpm.diagnose.finding import Location, Subject
from gradpm.tui.cells import Row, fit, fit_end, fit_row, pad, plain, width_of
from gradpm.tui.evidence import Evidence
from gradpm.tui.folding import Bools, Folding
from gradpm.tui.marks import count
from gradpm.tui.parameter_cells import ParameterCells
from gradpm.tui.parameters import Parameter, ParameterTree, grow, is_healthy, mark_of
from gradpm.tui.reading import Table
from gradpm.tui.tree_pane import TreePane

SORTS = ("module", "status", "norm", "size")


class ParametersPane(TreePane):
    """A table over a tree; narrower panes show fewer columns, the status always."""

    HEAD = 1
    HELP_TEXT: ClassVar[str] = (
        "Every parameter in its module, and its .grad right after the chosen backward (n and p "
        "go along). ✔ ok, ✖ None or NaN, ○ all zero, ❄ frozen. Enter shows the way of its "
        "gradient; v shows its node in the graph; c compares this backward with others."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "sort", "Sort", id="parameters.sort"),
        Binding("b", "bad_only", "Bad only", id="parameters.bad_only"),
        Binding("c", "screen.compare", "Compare", id="parameters.compare"),
        Binding("v", "screen.show_node", "Node", show=False, id="parameters.node"),
        Binding("w", "choose", "Way to the loss", show=False, id="parameters.path"),
    ]

    class Arranged(Message):
        """Sorted or filtered otherwise; `summary` says how."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, title="Parameters")
        self.evidence: Evidence | None = None
        self.parameters: list[Parameter] = []
        self.shape: ParameterTree | None = None
        self.cells = ParameterCells()
        self.sorting = "module"
        self.bad_only = False
        self.pattern: Bools | None = None

    def show(self, evidence: Evidence, table: Table, base_name: str) -> None:
        """Show a trace's parameters after a backward; `base_name` is what it is compared with."""
        anew = evidence is not self.evidence or self.sorting != "module" or self.bad_only
        self.evidence, self.parameters = evidence, table.parameters
        self.cells = ParameterCells(table.grads, table.base, base_name, table.others)
        self.cells.measure(table.parameters)
        if anew or self.shape is None:
            self._grow()
        else:
            self.refresh()

    def _grow(self) -> None:
        serial = self.serial
        self.shape = grow(self.parameters, self._order())
        self.folding = Folding(self.shape.tree, 200)
        if len(self.shape.tree) > 400:
            self.folding.open_to(2)
        self._filter_bad()
        self.shown_anew(self.shape.row_of.get(serial, 0))

    def _order(self) -> list[int] | None:
        indices = range(len(self.parameters))
        grads = [self.cells.grads.get(p.leaf.serial) for p in self.parameters]
        if self.sorting == "status":
            rank = ["NaN", "Inf", "None", "zero", "unread", "sparse", "ok", "frozen", "absent"]
            return sorted(
                indices, key=lambda i: (is_healthy(grads[i]), rank.index(mark_of(grads[i]).word))
            )
        if self.sorting == "norm":
            return sorted(
                indices, key=lambda i: -(g.norm if (g := grads[i]) and g.norm == g.norm else -1)
            )
        if self.sorting == "size":
            return sorted(indices, key=lambda i: -_numel(self.parameters[i].leaf.spec.shape))
        return None

    def _filter_bad(self) -> None:
        if self.folding is None or self.shape is None:
            return
        match = self.pattern
        if self.bad_only:
            bad = [index >= 0 and self._is_bad(index) for index in self.shape.parameter]
            match = np.array(bad, np.bool_) if match is None else match & np.array(bad, np.bool_)
        self.folding.set_filter(match)

    def _is_bad(self, index: int) -> bool:
        return not is_healthy(self.cells.grads.get(self.parameters[index].leaf.serial))

    def filter(self, pattern: str) -> int:
        """Show only names that match; raises re.error."""
        wanted = re.compile(pattern, re.IGNORECASE) if pattern else None
        if self.shape is not None:
            self.pattern = None
            if wanted is not None:
                names = ("" if i < 0 else self.parameters[i].name for i in self.shape.parameter)
                self.pattern = np.array([bool(n and wanted.search(n)) for n in names], np.bool_)
        row = self.current
        self._filter_bad()
        match = self.folding.match if self.folding is not None else None
        if self.folding is None or match is None:
            self.shown_anew(row)
            return 0
        self.shown_anew(row if row >= 0 and match[row] else self.folding.next_match(row - 1, 1))
        return int(match.sum())

    # -- rows ---------------------------------------------------------------------------

    def row_count(self) -> int:
        """Rows on show, or one that says why none is."""
        return super().row_count() or 1

    def heads(self, width: int) -> list[Row]:
        """The columns' names."""
        columns = self.cells.columns(width)
        name = max(12, width - sum(w + 1 for _, w in columns))
        row: Row = [(fit("parameter", name).ljust(name), "dim")]
        for title, size in columns:
            text = fit(plain(title), size)
            row.append((" " + (pad(text, size) if title == "status" else text.rjust(size)), "dim"))
        return [row]

    def row(self, line: int, width: int) -> Row:
        """A module or a parameter."""
        if self.folding is None or self.shape is None or not len(self.folding.visible):
            return fit_row([(self._none(), "dim")], width)
        row = int(self.folding.visible[line])
        index = self.shape.parameter[row]
        indent: Row = [("  " * int(self.folding.tree.depth[row]), "text"), self.sign(row)]
        if index < 0:
            return self._module(row, indent, width)
        parameter = self.parameters[index]
        columns = self.cells.columns(width)
        name = max(12, width - sum(w + 1 for _, w in columns))
        label = plain(self.shape.label[row])
        if self.sorting != "module":  # whole names, whose ends differ
            label = fit_end(label, name - width_of(indent))
        cells: Row = fit_row([*indent, (label, self._name_role(row))], name)
        cells.append((" " * (name - width_of(cells)), "text"))
        for title, size in columns:
            text, role = self.cells.cell(parameter, title)
            text = fit(plain(text), size)
            cells.append((" " + (pad(text, size) if title == "status" else text.rjust(size)), role))
        return cells

    def _none(self) -> str:
        if self.shape is None:
            return "The parameters are being read …"
        return "No parameter matches." if self.parameters else "This trace knows no parameter."

    def summary(self) -> str:
        """`78 parameters · sorted by norm · bad only`."""
        if self.shape is None or not self.parameters:
            return ""
        parts = [count(len(self.parameters), "parameter")]
        parts += [f"sorted by {self.sorting}"] if self.sorting != "module" else []
        parts += ["bad only"] if self.bad_only else []
        return " · ".join(parts)

    def _name_role(self, row: int) -> str:
        matched = (
            self.folding is not None and self.folding.match is not None and self.pattern is not None
        )
        return "match" if matched and self.folding.match[row] else "text"  # type: ignore[union-attr,index]

    def _module(self, row: int, indent: Row, width: int) -> Row:
        assert self.shape is not None
        assert self.folding is not None
        label: Row = [(plain(self.shape.label[row]), "accent")]
        if self.folding.collapsed[row]:
            below = range(row + 1, row + 1 + int(self.folding.tree.size[row]))
            leaves = [i for r in below if (i := self.shape.parameter[r]) >= 0]
            bad = sum(map(self._is_bad, leaves))
            if bad:
                label.append((f"  ✖ {bad:,} of", "none"))
            label.append((f"  {count(len(leaves), 'parameter')}"[bad > 0 :], "dim"))
        return fit_row([*indent, *label], width)

    # -- what the cursor stands on --------------------------------------------------------

    @property
    def chosen(self) -> Parameter | None:
        """The parameter under the cursor."""
        if self.shape is None or self.current < 0:
            return None
        index = self.shape.parameter[self.current]
        return self.parameters[index] if index >= 0 else None

    @property
    def serial(self) -> int:
        """Its serial, 0 for none."""
        return self.chosen.leaf.serial if self.chosen is not None else 0

    @property
    def location(self) -> Location | None:
        """Where the parameter was made."""
        if self.chosen is None or self.evidence is None:
            return None
        return self.evidence.location(self.evidence.trace.user_frame(self.chosen.leaf.frame))

    def go_to_serial(self, serial: int) -> bool:
        """Put the cursor on a parameter."""
        row = self.shape.row_of.get(serial, -1) if self.shape is not None else -1
        if row >= 0:
            self.go_to(row)
        return row >= 0

    def go_to_subject(self, subject: Subject) -> bool:
        """Put the cursor on what a finding explains; False where it is no row here."""
        serials = (p.leaf.serial for p in self.parameters if p.name == subject.name)
        serial = subject.serial or next(serials, 0)
        return bool(serial) and self.go_to_serial(serial)

    # -- keys -----------------------------------------------------------------------------

    def action_choose(self) -> None:
        """Fold a module; show a parameter's way."""
        if self.chosen is None:
            self.action_fold_here()
        else:
            super().action_choose()

    def action_sort(self) -> None:
        """By module, status, norm, size."""
        self.sorting = SORTS[(SORTS.index(self.sorting) + 1) % len(SORTS)]
        self.pattern = None
        self._grow()
        self.post_message(self.Arranged())

    def action_bad_only(self) -> None:
        """Only parameters with something to look at, or all."""
        self.bad_only = not self.bad_only
        self._filter_bad()
        self.shown_anew(self.current)
        self.post_message(self.Arranged())


def _numel(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
