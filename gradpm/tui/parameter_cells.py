"""What stands in the columns of the parameter table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gradpm.tui.cells import Cell
from gradpm.tui.marks import number
from gradpm.tui.parameters import Grad, Grads, Parameter, change, mark_of

_WIDEST_SHAPE = 14


@dataclass(slots=True)
class ParameterCells:
    """The gradients on show, and what they are held against."""

    grads: Grads = field(default_factory=dict)
    base: Grads | None = None
    base_name: str = ""
    others: list[tuple[str, dict[str, Grad]]] = field(default_factory=list)
    shape_width: int = 5

    def measure(self, parameters: Sequence[Parameter]) -> None:
        """Make the shapes' column as wide as they are."""
        widest = max((len(shape_of(parameter)) for parameter in parameters), default=0)
        self.shape_width = max(5, min(widest, _WIDEST_SHAPE))

    def columns(self, width: int) -> list[tuple[str, int]]:
        """(title, width) of the columns that fit; the earlier in the list the more they matter."""
        wanted = [("status", 8)]
        if self.base is not None:
            wanted += [("change", 13), (f"in {self.base_name}", 8)]
        wanted += [("norm", 7), *((label, 8) for label, _ in self.others)]
        wanted += [("shape", self.shape_width), ("version", 7), ("dtype", 9)]
        wanted += [("optimizer", 12), ("device", 7), ("grad", 4)]
        room = width - min(36, max(20, width // 3))
        found: list[tuple[str, int]] = []
        for title, size in wanted:
            if size + 1 <= room or not found:
                found.append((title, size))
                room -= size + 1
        return found

    def cell(self, parameter: Parameter, title: str) -> Cell:
        """A parameter's cell in one column."""
        grad = self.grads.get(parameter.leaf.serial)
        if title == "status":
            mark = mark_of(grad)
            return f"{mark.symbol} {mark.word}", mark.role
        if self.base is not None and title in ("change", f"in {self.base_name}"):
            before = self.base.get(parameter.leaf.serial)
            return change(before, grad) if title == "change" else _norm(before)
        for label, grads in self.others:
            if label == title:
                return _norm(grads.get(parameter.name))
        spec = parameter.leaf.spec
        simple = {
            "norm": number(grad.norm) if grad and grad.state.name in ("FINITE", "SPARSE") else "",
            "shape": shape_of(parameter),
            "version": str(grad.version) if grad else "",
            "dtype": spec.dtype.removeprefix("torch."),
            "optimizer": parameter.optimizer or "none",
            "device": spec.device,
            "grad": ("yes" if grad.requires else "no") if grad else "",
        }
        return simple.get(title, ""), "text" if title == "norm" else "dim"


def shape_of(parameter: Parameter) -> str:
    """`[64,32]`."""
    return str(list(parameter.leaf.spec.shape)).replace(" ", "")


def _norm(grad: Grad | None) -> Cell:
    mark = mark_of(grad)
    if grad is not None and mark.word in ("ok", "sparse"):
        return number(grad.norm), "text"
    return f"{mark.symbol} {mark.word}", mark.role
