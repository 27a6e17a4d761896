"""What makes a long run's diagnosis linear says the same as the plain way of saying it."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import pytest
from launching import ROOT

from gradpm.diagnose.case import Case
from gradpm.diagnose.ends import Ends
from gradpm.diagnose.facts import Facts
from gradpm.diagnose.flow import Flow
from gradpm.diagnose.graphs import stretches
from gradpm.diagnose.loop import Clearing, Loop
from gradpm.diagnose.losing import Kinds, Lost, also_lost, united
from gradpm.trace.model import Trace
from gradpm.trace.schema import LeafKind, Op, Table

sys.path.append(str(ROOT / "tests/tui"))
from make_trace import Builder

TRACKED = int(Op.GRAD_ENABLED | Op.IN_REQUIRES | Op.OUT_REQUIRES)


class Written(Builder):
    """Op rows by hand: names, serials, whether what comes out is tracked."""

    def op(self, name: str, ins: list[int], outs: list[int], *, at: int = 0, **flags: Any) -> None:
        tracked = flags.get("tracked", True)
        self.ops += 1
        self.add(
            Table.OP, id=self.ops, name=self.string(name), frame=at,
            flags=flags.get("flags", TRACKED if tracked else int(Op.GRAD_ENABLED)),
            nin=len(ins), nout=len(outs), out=outs, spec=[self.spec()] * len(outs),
            oflags=[int(tracked)] * len(outs), **{"in": ins},
        )  # fmt: skip

    def parameter(self, serial: int) -> None:
        self.add(Table.LEAF, serial=serial, kind=int(LeafKind.PARAMETER), flags=7)

    def call(self, root: int) -> None:
        self.ops += 1
        rows = self.rows[Table.BACKWARD]["number"]
        self.add(
            Table.BACKWARD, number=len(rows), op=self.ops, op_end=self.ops, nroot=1, root=[root]
        )


def facts_of(written: Written, folder: Path) -> Facts:
    written.meta(script="train.py")
    return Facts(Trace(written.write(folder / "t.gpm")))


class Given(Kinds):
    """Kinds and engine calls of rows that are nowhere: row 12 is of kind 0, after call 2."""

    def __init__(self) -> None:
        pass

    def of(self, row: int) -> object:
        return row % 3

    def between(self, row: int) -> int:
        return row // 5


def test_rows_that_go_are_stood_for_by_others_of_their_kind() -> None:
    turn, kinds = random.Random(5), Given()
    thinned = 0
    for _ in range(200):
        short: list[Lost] = [{}]
        whole: list[Lost] = [{}]
        for row in range(turn.randrange(150)):
            a, b = turn.randrange(len(short)), turn.randrange(len(short))
            bits = turn.choice((1, 1, 1, 3, 4))
            short.append(also_lost(united((short[a], short[b]), kinds), row, bits, kinds))
            naive = dict(whole[a])
            for at, more in [*whole[b].items(), (row, bits)]:
                naive[at] = naive.get(at, 0) | more
            whole.append(naive)
        thinned += len(whole[-1]) - len(short[-1])
        for few, every in zip(short, whole, strict=True):
            assert few.items() <= every.items()
            for bit in (1, 2, 4):
                assert said(few, bit, kinds) == said(every, bit, kinds)
    assert thinned > 300


def said(lost: Lost, bit: int, kinds: Kinds) -> dict[object, tuple[int, int]]:
    """By kind, what rules ask for: the first row, and between which calls the last one ran."""
    found: dict[object, tuple[int, int]] = {}
    for row in sorted(row for row, bits in lost.items() if bits & bit):
        first, _ = found.get(kinds.of(row), (row, 0))
        found[kinds.of(row)] = first, kinds.between(row)
    return found


def test_a_loop_of_cuts_holds_a_handful_of_rows(tmp_path: Path) -> None:
    written = Written()
    written.parameter(-1)
    state = 1
    for step in range(3000):
        out = 10 + 3 * step
        written.op("linear", [-1], [out])
        written.op("detach", [out], [out + 1], tracked=False)
        written.op("add", [state, out + 1], [out + 2], tracked=False)
        state = out + 2
        if step % 10 == 9:
            written.call(state)
    flow = Flow(facts_of(written, tmp_path), [-1]).run()
    assert max(map(len, flow.lost.values())) <= 17
    cuts = [sorted(state.lost) for state in flow.roots.values()]
    assert {rows[0] for rows in cuts} == {1}
    assert [rows[-1] // 30 for rows in cuts] == list(range(300))


@pytest.mark.parametrize("seed", range(20))
def test_the_last_end_is_the_same_found_backwards_or_forwards(seed: int, tmp_path: Path) -> None:
    turn, written = random.Random(seed), Written()
    parameters = [-1 - at for at in range(6)]
    known = list(parameters)
    for serial in parameters:
        written.parameter(serial)
        written.op("uniform_", [serial], [serial])
    for at in range(80):
        ins = turn.choices(known, k=turn.choice((1, 1, 2)))
        if turn.random() < 0.1:
            written.op("add_", ins, ins[:1])
        else:
            written.op("mul", ins, [100 + at], tracked=turn.random() < 0.8)
            known.append(100 + at)
    ends = Ends(facts_of(written, tmp_path))
    scalars = set(ends.scalars)
    for serial in parameters:
        forwards = ends.all(serial)
        assert ends.last(serial) == max(forwards, default=-1)
        if not ends.is_made(serial):
            found = ends.last_behind(serial, ends.behind_scalars)
            assert found == max(scalars.intersection(forwards), default=-1)


def test_a_deep_tower_is_walked_once_for_all_its_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Written()
    for at in range(300):
        written.parameter(-1 - at)
        written.op("Parameter", [5000 + at], [-1 - at])
        written.op("uniform_", [-1 - at], [-1 - at])
    for at in range(300):
        written.op("linear", [10 + at, -1 - at], [11 + at])
    ends = Ends(facts_of(written, tmp_path))
    monkeypatch.setattr(Ends, "all", lambda *_: pytest.fail("walked for one alone"))
    assert {ends.last(-1 - at) for at in range(300)} == {899}


def test_what_cleared_a_gradient_last_is_found_by_bisection(tmp_path: Path) -> None:
    turn = random.Random(2)
    facts = facts_of(Written(), tmp_path)
    groups = [frozenset({1, 2, 3}), frozenset({3, 4}), frozenset(), frozenset({1}), frozenset({5})]
    for _ in range(50):
        loop = Loop(facts, Case(facts.trace).places)
        ops = sorted(turn.choices(range(40), k=30))
        loop.__dict__["clearings"] = clearings = [
            Clearing(op, 0, turn.choice(groups)) for op in ops
        ]
        for _ in range(20):
            wanted = set(turn.choices(range(6), k=2))
            first = turn.randrange(40)
            end = first + turn.randrange(-3, 20)
            plain = [c for c in clearings if first <= c.op <= end and wanted & c.serials]
            assert loop.cleared(wanted, first, end) is (plain[-1] if plain else None)


def test_stretches_of_a_column() -> None:
    assert stretches([0, 0, 2, 1, 1, 1]) == {0: (0, 2), 2: (2, 3), 1: (3, 6)}
    assert stretches([]) == {}
