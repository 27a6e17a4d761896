"""The parameters in their modules, with what a backward left in each."""

from __future__ import annotations

import re
from typing import ClassVar

import numpy as np
from textual.binding import Binding, BindingType

from gradpm.diagnose.finding import Location
from gradpm.tui.cells import Cell, Row, fit, fit_row, plain, width_of
from gradpm.tui.evidence import Evidence
from gradpm.tui.folding import Bools, Folding
from gradpm.tui.marks import count, number
from gradpm.tui.parameters import (
    Grad,
    Grads,
    Parameter,
    ParameterTree,
    change,
    grow,
    is_healthy,
    mark_of,
)
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

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, title="Parameters")
        self.evidence: Evidence | None = None
        self.parameters: list[Parameter] = []
        self.shape: ParameterTree | None = None
        self.grads: Grads = {}
        self.base: Grads | None = None
        self.base_name = ""
        self.others: list[tuple[str, dict[str, Grad]]] = []
        self.sorting = "module"
        self.bad_only = False
        self.pattern: Bools | None = None

    def show(self, evidence: Evidence, table: Table, base_name: str) -> None:
        """Show a trace's parameters after a backward; `base_name` is what it is compared with."""
        anew = evidence is not self.evidence or self.sorting != "module" or self.bad_only
        self.evidence, self.parameters, self.grads = evidence, table.parameters, table.grads
        self.base, self.base_name, self.others = table.base, base_name, table.others
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
        grads = [self.grads.get(p.leaf.serial) for p in self.parameters]
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
            bad = [
                index >= 0 and not is_healthy(self.grads.get(self.parameters[index].leaf.serial))
                for index in self.shape.parameter
            ]
            match = np.array(bad, np.bool_) if match is None else match & np.array(bad, np.bool_)
        self.folding.set_filter(match)

    def filter(self, pattern: str) -> int:
        """Show only names that match; raises re.error."""
        wanted = re.compile(pattern, re.IGNORECASE) if pattern else None
        if self.shape is not None:
            self.pattern = None
            if wanted is not None:
                names = ("" if i < 0 else self.parameters[i].name for i in self.shape.parameter)
                self.pattern = np.array([bool(n and wanted.search(n)) for n in names], np.bool_)
        self._filter_bad()
        self.shown_anew(self.current)
        match = self.folding.match if self.folding is not None else None
        return int(match.sum()) if match is not None else 0

    # -- rows ---------------------------------------------------------------------------

    def row_count(self) -> int:
        """Rows on show, or one that says why none is."""
        return super().row_count() or 1

    def head(self, width: int) -> Row:
        """The columns' names."""
        columns = self._columns(width)
        name = max(12, width - sum(w + 1 for _, w in columns))
        row: Row = [(fit("parameter", name).ljust(name), "dim")]
        return [*row, *((" " + fit(title, w).rjust(w), "dim") for title, w in columns)]

    def _columns(self, width: int) -> list[tuple[str, int]]:
        """(title, width) of the columns that fit; the earlier in the list the more they matter."""
        wanted = [("status", 8)]
        if self.base is not None:
            wanted += [("change", 13), (f"in {self.base_name}", 8)]
        wanted += [(label, 8) for label, _ in self.others]
        wanted += [("norm", 7), ("shape", 14), ("version", 7), ("dtype", 9), ("optimizer", 12)]
        wanted += [("device", 7), ("grad", 4)]
        room = width - min(36, max(22, width // 3))
        found: list[tuple[str, int]] = []
        for title, size in wanted:
            if size + 1 <= room or not found:
                found.append((title, size))
                room -= size + 1
        return found

    def row(self, line: int, width: int) -> Row:
        """A module or a parameter."""
        if self.folding is None or self.shape is None or not len(self.folding.visible):
            words = "No parameter matches." if self.parameters else "This trace knows no parameter."
            return [(words, "dim")]
        row = int(self.folding.visible[line])
        index = self.shape.parameter[row]
        indent: Row = [("  " * int(self.folding.tree.depth[row]), "text"), self.sign(row)]
        if index < 0:
            return self._module(row, indent, width)
        parameter = self.parameters[index]
        columns = self._columns(width)
        name = max(12, width - sum(w + 1 for _, w in columns))
        cells: Row = fit_row([*indent, (plain(self.shape.label[row]), self._name_role(row))], name)
        cells.append((" " * (name - width_of(cells)), "text"))
        for title, size in columns:
            text, role = self._cell(parameter, title)
            text = fit(plain(text), size)
            cells.append(
                (" " + (text.ljust(size) if title == "status" else text.rjust(size)), role)
            )
        return cells

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
            label.append((f"  {count(len(leaves), 'parameter')}", "dim"))
        return fit_row([*indent, *label], width)

    def _cell(self, parameter: Parameter, title: str) -> Cell:
        grad = self.grads.get(parameter.leaf.serial)
        spec = parameter.leaf.spec
        if title == "status":
            mark = mark_of(grad)
            return f"{mark.symbol} {mark.word}", mark.role
        if title == "change" and self.base is not None:
            return change(self.base.get(parameter.leaf.serial), grad)
        if title == f"in {self.base_name}" and self.base is not None:
            return _norm(self.base.get(parameter.leaf.serial))
        for label, grads in self.others:
            if label == title:
                return _norm(grads.get(parameter.name))
        simple = {
            "norm": number(grad.norm) if grad and grad.state.name in ("FINITE", "SPARSE") else "",
            "shape": str(list(spec.shape)).replace(" ", ""),
            "version": str(grad.version) if grad else "",
            "dtype": spec.dtype.removeprefix("torch."),
            "optimizer": parameter.optimizer or "none",
            "device": spec.device,
            "grad": ("yes" if grad.requires else "no") if grad else "",
        }
        return simple.get(title, ""), "text" if title == "norm" else "dim"

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
        self.notify(f"Sorted by {self.sorting}", markup=False, timeout=2)

    def action_bad_only(self) -> None:
        """Only parameters with something to look at, or all."""
        self.bad_only = not self.bad_only
        self._filter_bad()
        self.shown_anew(self.current)
        words = "Only those with something to look at" if self.bad_only else "All parameters"
        self.notify(words, markup=False, timeout=2)


def _numel(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def _norm(grad: Grad | None) -> Cell:
    mark = mark_of(grad)
    if grad is not None and mark.word in ("ok", "sparse"):
        return number(grad.norm), "text"
    return f"{mark.symbol} {mark.word}", mark.role
