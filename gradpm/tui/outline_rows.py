"""How the graph pane's rows look, and what each stands for."""

from __future__ import annotations

from gradpm.diagnose.finding import Location, Step
from gradpm.trace.schema import Table
from gradpm.tui.cells import Cell, Row, fit_end, plain, spread, width_of
from gradpm.tui.evidence import Evidence
from gradpm.tui.graph_view import GraphView
from gradpm.tui.grouping import Kind, call_label, module_class
from gradpm.tui.marks import bar, count, number
from gradpm.tui.outline import RowKind
from gradpm.tui.reasons import lost_words

_BAD_WORD = {1: ("○ zero", "warning"), 2: ("✖ Inf", "error"), 3: ("✖ NaN", "error")}


class OutlineRows:
    """The rows of one graph, made from its arrays when they come into sight."""

    def __init__(self, evidence: Evidence, view: GraphView) -> None:
        self.evidence = evidence
        self.view = view
        self._names: dict[int, str] = {}

    def row(self, row: int, width: int, sign: Cell, matches: bool) -> Row:
        """One row, by its kind; `sign` is its fold's triangle."""
        outline = self.view.outline
        kind, ref = int(outline.kind[row]), int(outline.ref[row])
        depth = min(int(outline.tree.depth[row]), max(2, width // 6))
        indent: Row = [("│ " * depth, "faint")] if depth else []
        if kind == RowKind.GROUP:
            left, right = self._group(row, ref)
        elif kind in (RowKind.CUT, RowKind.LOST):
            left, right = self._lost(ref, kind == RowKind.CUT, width)
        else:
            left, right = self._node(row, ref, kind == RowKind.REFERENCE, width)
        if kind == RowKind.REFERENCE:
            sign = ("↗ ", "note")
        room = width - width_of([*indent, sign, *right]) - 1
        if len(left) > 1 and left[0][0] in ("◆ ", "○ ") and width_of(left) > room:
            left = [left[0], (fit_end(left[1][0], room - 2), left[1][1])]  # a name's end tells
        if matches:
            left = [(text, "match" if at == 0 else role) for at, (text, role) in enumerate(left)]
        return spread([*indent, sign, *left], right, width, least=2 * depth + 16)

    def place(self, row: int) -> tuple[Location | None, str, str]:
        """(place, reason, role) of a row."""
        outline, evidence = self.view.outline, self.evidence
        kind, ref = int(outline.kind[row]), int(outline.ref[row])
        if kind == RowKind.CUT:
            step, finding = self.view.lost[ref]
            return step.location, lost_words(finding, step), "error"
        if kind == RowKind.LOST:
            return self.view.lost[ref][0].location, "no gradient", "none"
        if kind != RowKind.GROUP:
            return self.place_of(ref)
        user = None
        if outline.groups.kind[ref] is Kind.CALL:
            frames = evidence.trace.table(Table.SCOPE)["frame"]
            user = evidence.trace.user_frame(frames[outline.groups.ref[ref]])
        if user is not None:
            return evidence.location(user), self.group_label(ref)[0], "accent"
        return self.place_of(self.node(row))

    def node(self, row: int) -> int:
        """The node of a row, of a group its first; -1 for none."""
        outline = self.view.outline
        while row < len(outline.kind) and outline.kind[row] == RowKind.GROUP:
            row += 1
        if row >= len(outline.kind) or outline.kind[row] in (RowKind.CUT, RowKind.LOST):
            return -1
        return int(outline.ref[row])

    def _group(self, row: int, group: int) -> tuple[Row, Row]:
        view = self.view
        nodes, leaves = view.outline.counts(row)
        tail = count(nodes, "node") + (f" · {count(leaves, 'param')}" if leaves else "")
        label, kind = self.group_label(group, self._outer(row))
        return [(label, "accent"), (f"  {kind}" if kind else "", "dim")], [(tail, "dim")]

    def _outer(self, row: int) -> str:
        """The path of the module call around a row: what stands below is told from there."""
        outline, groups = self.view.outline, self.view.outline.groups
        for above in outline.tree.ancestors(row):
            group = int(outline.ref[above])
            if outline.kind[above] == RowKind.GROUP and groups.kind[group] is Kind.CALL:
                return call_label(self.evidence.trace, groups.ref[group])
        return ""

    def label_of(self, row: int) -> str:
        """What a group's row says."""
        return self.group_label(int(self.view.outline.ref[row]), self._outer(row))[0]

    def group_label(self, group: int, outer: str = "") -> tuple[str, str]:
        """What a group is called as seen from the call around it, and its module's class."""
        groups, trace = self.view.outline.groups, self.evidence.trace
        if groups.kind[group] is Kind.CALL:
            scope = groups.ref[group]
            label, kind = call_label(trace, scope), module_class(trace, scope)
            short = _from(outer, label) or label
            turn = ""
            if groups.turns[group, 1] and groups.kind[groups.parent[group]] is not Kind.TURN:
                which, of_all = groups.turns[group].tolist()
                turn = f"call {which:,} of {of_all:,}"
            return plain(short), "  ".join(
                filter(None, ("" if kind == label else plain(kind), turn))
            )
        if groups.kind[group] is Kind.WITHIN:
            frame = trace.user_frame(trace.table(Table.OP)["frame"][groups.ref[group]])
            place = self.evidence.location(frame)
            return plain(groups.label[group]), plain(place.short()) if place else ""
        if groups.kind[group] is Kind.LINE:
            frame = trace.frame(groups.ref[group])
            place = self.evidence.location(frame)
            return plain(groups.label[group]), plain(place.short()) if place else ""
        return plain(groups.label[group]), ""

    def _node(self, row: int, node: int, reference: bool, width: int) -> tuple[Row, Row]:
        graph, trace = self.view.outline.graph, self.evidence.trace
        serial = int(graph.leaf[node])
        if serial:
            name = plain(_from(self._outer(row), trace.name(serial))) or "a leaf"
            left: Row = [("◆ ", "ok"), (name, "text")]
            known = trace.leaves.get(serial)
            if known is not None and width >= 70:
                left.append((f"  {list(known.spec.shape)}", "dim"))
        else:
            left = [(self._node_name(int(graph.name[node])), "dim" if reference else "text")]
            where = plain(_from(self._outer(row), self._module(node))) if width >= 64 else ""
            left.append((f"  {where}", "dim"))
        right = self._norm(node)
        place = trace.frame(int(graph.frame[node])) if graph.frame[node] else None
        if place is not None and width >= 56:
            right.append((f"  {_short(place.path, place.line):>12}", "accent"))
        elif place is not None and width >= 44:
            right.append((f" {f':{place.line}':>6}", "accent"))
        elif right and width >= 44:
            right.append((" " * (14 if width >= 56 else 7), "text"))
        return left, right

    def _norm(self, node: int) -> Row:
        graph = self.view.outline.graph
        if node == graph.failed:
            return [("✖ raised in it", "error")]
        if graph.bad[node]:
            word, role = _BAD_WORD[int(graph.bad[node])]
            return [(f"{word:>12}", role)]
        if not graph.looked[node]:
            return [("· not reached", "dim")] if graph.failed >= 0 else []
        value = float(graph.norm[node])
        return [
            (bar(value, self.view.low, self.view.high), "bar"),
            (f" {number(value):>6}", "text"),
        ]

    def _lost(self, at: int, cut: bool, width: int) -> tuple[Row, Row]:
        step, finding = self.view.lost[at]
        place: Row = []
        if step.location:
            whole = plain(step.location.short())
            place = [(whole if width >= 56 else f":{step.location.line}", "accent")]
        if cut:
            words = lost_words(finding, step).removesuffix(" here")
            return [("✂ ", "error"), (plain(step.label), "error"), (f"  {words}", "error")], place
        words = "no gradient" if finding.code.startswith("GP1") else plain(step.detail)
        return [("○ ", "none"), (plain(step.label), "text"), (f"  {words}", "none")], place

    def _node_name(self, string: int) -> str:
        name = self._names.get(string)
        if name is None:
            name = plain(self.evidence.trace.string(string)).rpartition("::")[2]
            head, backward, digits = name.rpartition("Backward")
            name = head if backward and digits.isdigit() and head else name
            self._names[string] = name
        return name

    def _module(self, node: int) -> str:
        return call_label(self.evidence.trace, int(self.view.outline.graph.scope[node]))

    def place_of(self, node: int) -> tuple[Location | None, str, str]:
        """(place, reason, role) of a node."""
        view, evidence = self.view, self.evidence
        if node < 0:
            return None, "", "accent"
        graph = view.outline.graph
        serial = int(graph.leaf[node])
        if serial:
            known = evidence.trace.leaves.get(serial)
            frame = evidence.trace.user_frame(known.frame) if known else None
            return evidence.location(frame), plain(evidence.trace.name(serial)), "accent"
        frame = evidence.trace.frame(int(graph.frame[node]))
        name = self._node_name(int(graph.name[node]))
        if node == graph.failed:
            return evidence.location(frame), f"backward raised in its {name}", "error"
        return evidence.location(frame), name, "accent"

    def station(self, node: int) -> Step:
        """A node as a station of a path."""
        graph = self.view.outline.graph
        place, label, _ = self.place_of(node)
        norm = f"‖g‖ {number(float(graph.norm[node]))}" if graph.looked[node] else ""
        kind = "parameter" if graph.leaf[node] else "op" if node else "loss"
        return Step(kind, label, norm, place, node=node)


def _from(outer: str, path: str) -> str:
    """A dotted path as seen from within a module: `a.b.c` within `a` is `b.c`."""
    if path == outer:
        return ""
    return path.removeprefix(f"{outer}.") if outer else path


def _short(path: str, line: int) -> str:
    return plain(f"{path.replace(chr(92), '/').rpartition('/')[2]}:{line}")
