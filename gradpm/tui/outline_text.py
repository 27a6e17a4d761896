"""What a filter looks at: one text per distinct (node kind, module, line, parameter)."""

from __future__ import annotations

import re

import numpy as np

from gradpm.trace.model import Trace
from gradpm.trace.schema import Table
from gradpm.tui.folding import Bools
from gradpm.tui.graph import Array, column
from gradpm.tui.grouping import Kind, call_label
from gradpm.tui.outline import Outline, RowKind


class OutlineText:
    """Regular expressions over an outline. A million nodes have only some thousand texts."""

    def __init__(self, outline: Outline, trace: Trace, lost: list[str]) -> None:
        self._outline = outline
        self._lost = lost
        graph = outline.graph
        modules = column(trace, Table.SCOPE, "module")
        module = modules[graph.scope].astype(np.int64) if len(modules) else graph.scope
        parts = (graph.name, module, graph.frame, graph.leaf)
        key, sources = np.zeros(len(graph), np.int64), []
        for part in parts:
            distinct, number = np.unique(part, return_inverse=True)
            key = key * max(1, len(distinct)) + number
            sources.append((distinct, part))
        _, example, self._text_of = np.unique(key, return_index=True, return_inverse=True)
        self._texts = [self._text(trace, int(node)) for node in example]
        self._group_rows = np.flatnonzero(outline.kind == RowKind.GROUP)
        self._labels = self._group_labels(trace)

    def _text(self, trace: Trace, node: int) -> str:
        graph = self._outline.graph
        frame = trace.frame(int(graph.frame[node]))
        line = f"{frame.path}:{frame.line}" if frame else ""
        scope = call_label(trace, int(graph.scope[node]))
        leaf = trace.name(int(graph.leaf[node])) if graph.leaf[node] else ""
        return f"{trace.string(int(graph.name[node]))} {scope} {leaf} {line}"

    def _group_labels(self, trace: Trace) -> tuple[list[str], Array]:
        """(distinct labels, number of each group row's label)."""
        groups, modules = self._outline.groups, trace.table(Table.SCOPE)["module"]
        known: dict[object, int] = {}
        labels: list[str] = []
        numbers = np.zeros(len(self._group_rows), np.int32)
        for at, group in enumerate(self._outline.ref[self._group_rows].tolist()):
            call = groups.kind[group] is Kind.CALL
            key: object = modules[groups.ref[group]] if call else groups.label[group]
            if key not in known:
                known[key] = len(labels)
                labels.append(call_label(trace, groups.ref[group]) if call else groups.label[group])
            numbers[at] = known[key]
        return labels, numbers

    def match(self, pattern: str) -> Bools:
        """Which rows match; raises re.error for a pattern that is none."""
        wanted = re.compile(pattern, re.IGNORECASE)
        outline = self._outline
        found = np.zeros(len(outline.kind), np.bool_)
        hit = np.fromiter((bool(wanted.search(t)) for t in self._texts), np.bool_, len(self._texts))
        nodes = np.flatnonzero(hit[self._text_of])
        found[outline.row_of[nodes]] = True
        labels, numbers = self._labels
        named = np.fromiter((bool(wanted.search(t)) for t in labels), np.bool_, len(labels))
        if len(numbers):
            found[self._group_rows[named[numbers]]] = True
        for row in np.flatnonzero(outline.kind >= RowKind.CUT).tolist():
            found[row] = bool(wanted.search(self._lost[outline.ref[row]]))
        return found
