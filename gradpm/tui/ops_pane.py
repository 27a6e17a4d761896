"""What ran on a line: calls, how often, shapes in and out, tracked or not."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from gradpm.tui.cells import Row, fit, plain, spread
from gradpm.tui.line_ops import LineOp
from gradpm.tui.marks import count
from gradpm.tui.rows_pane import RowsPane


class OpsPane(RowsPane):
    """One row per kind of call."""

    HELP_TEXT: ClassVar[str] = (
        "The torch calls that ran on one line of yours, alike ones counted together: how often, "
        "shapes in and out, and whether autograd tracked the result. Escape closes it."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,o", "screen.close_ops", "Close", id="ops.close"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, title="Ops")
        self.ops: list[LineOp] | None = None

    def wait(self, where: str) -> None:
        """Being looked up."""
        self.title, self.ops = f"Ops at {where}", None
        self.rows_changed(0)

    def show(self, ops: list[LineOp]) -> None:
        """Show them."""
        self.ops = ops
        self.rows_changed(0)

    def row_count(self) -> int:
        """One row per kind of call, or one that says there is none."""
        return len(self.ops or ()) or 1

    def row(self, line: int, width: int) -> Row:
        """`linear  24 times  [8, 64], [64] → [8, 256]   ✔ tracked`."""
        if not self.ops:
            words = "Looking …" if self.ops is None else "The trace has no call on this line."
            return [(words, "dim")]
        op = self.ops[line]
        room = max(10, width - 60)
        left: Row = [
            (fit(plain(op.name), 18).ljust(18), "strong"),
            (f" {count(op.times, 'time'):>10}  ", "dim"),
            (fit(plain(f"{op.shapes_in} → {op.shapes_out}"), max(room, 24)), "text"),
        ]
        return spread(left, [(op.tracked, op.role)], width)
