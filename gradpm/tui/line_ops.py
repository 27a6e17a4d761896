"""Which calls ran on a line of the user's, how often, with what shapes; which lines made nodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradpm.trace.model import Trace
from gradpm.trace.schema import Op, Table
from gradpm.tui.graph import column, user_frames

_MOST = 200_000


@dataclass(frozen=True, slots=True)
class LineOp:
    """All calls of one op on one line that look alike."""

    name: str
    times: int
    shapes_in: str
    shapes_out: str
    tracked: str  # tracked, cut, untracked, raised
    role: str


def frames_of(trace: Trace, path: str, line: int) -> set[int]:
    """The frame rows of a line."""
    frames = trace.table(Table.FRAME)
    files = [number for number, (name, _) in enumerate(trace.files) if name == path]
    lines, file = frames["line"], frames["file"]
    return {row for row in range(frames.rows) if lines[row] == line and file[row] in files}


def line_ops(trace: Trace, path: str, line: int) -> list[LineOp]:
    """The ops whose innermost user frame is this line, alike ones together."""
    wanted = frames_of(trace, path, line)
    innermost = user_frames(trace)[column(trace, Table.OP, "frame")]
    rows = np.flatnonzero(np.isin(innermost, list(wanted)))[:_MOST].tolist()
    shapes = _Shapes(trace, rows)
    names, flags = trace.table(Table.OP)["name"], trace.table(Table.OP)["flags"]
    found: dict[tuple[str, str, str, str, str], int] = {}
    for row in rows:
        tracked, role = _tracked(flags[row])
        came, went = shapes.of(row)
        key = (trace.string(names[row]), came, went, tracked, role)
        found[key] = found.get(key, 0) + 1
    return [
        LineOp(name, times, came, went, tracked, role)
        for (name, came, went, tracked, role), times in found.items()
    ]


def _tracked(flags: int) -> tuple[str, str]:
    if flags & Op.RAISED:
        return "✖ raised", "error"
    if flags & Op.OUT_REQUIRES:
        return "✔ tracked", "ok"
    if flags & Op.IN_REQUIRES:
        return "✂ not tracked from here", "error"
    return "· not tracked", "dim"


class _Shapes:
    """Shapes of an op's tensors; those that came in are known from the op that made them."""

    def __init__(self, trace: Trace, rows: list[int]) -> None:
        self._trace = trace
        table = trace.table(Table.OP)
        self._ins, self._in = table.ragged("in")
        self._outs, self._out = table.ragged("out")
        _, self._spec = table.ragged("spec", "nout")
        wanted = {
            serial for row in rows for serial in self._in[self._ins[row] : self._ins[row + 1]]
        }
        self._known = {
            s: str(list(leaf.spec.shape)) for s, leaf in trace.leaves.items() if s in wanted
        }
        if wanted and len(self._out):
            serials = np.frombuffer(self._out, np.int64)
            for at in np.flatnonzero(np.isin(serials, list(wanted))).tolist():
                self._known.setdefault(
                    int(serials[at]), str(list(trace.spec(self._spec[at]).shape))
                )

    def of(self, row: int) -> tuple[str, str]:
        """(in, out)."""
        ins = self._in[self._ins[row] : self._ins[row + 1]]
        outs = self._spec[self._outs[row] : self._outs[row + 1]]
        came = ", ".join(self._known.get(serial, "?") for serial in ins)
        return came, ", ".join(str(list(self._trace.spec(spec).shape)) for spec in outs)


def lines_with_nodes(trace: Trace) -> dict[str, dict[int, int]]:
    """For each of the user's files: line -> how many ops there were tracked by autograd."""
    flags = column(trace, Table.OP, "flags")
    if not len(flags):
        return {}
    innermost = user_frames(trace)[column(trace, Table.OP, "frame")]
    tracked = innermost[(flags & int(Op.OUT_REQUIRES)) > 0]
    found: dict[str, dict[int, int]] = {}
    rows, times = np.unique(tracked, return_counts=True)
    for row, amount in zip(rows.tolist(), times.tolist(), strict=True):
        frame = trace.frame(row)
        if frame is not None:
            lines = found.setdefault(frame.path, {})
            lines[frame.line] = lines.get(frame.line, 0) + amount
    return found
