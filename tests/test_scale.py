"""What makes a long run's diagnosis linear says the same as the plain way of saying it."""

from __future__ import annotations

import itertools
import random
import sys
from array import array
from pathlib import Path
from typing import Any

import pytest
from launching import ROOT

from gradpm.diagnose.case import Case
from gradpm.diagnose.crossing import links_of
from gradpm.diagnose.ends import Ends
from gradpm.diagnose.facts import Facts
from gradpm.diagnose.flow import Flow
from gradpm.diagnose.loop import Loop
from gradpm.diagnose.losing import Kinds, Lost, also_lost, united
from gradpm.diagnose.steps import Clearing
from gradpm.diagnose.stretches import stretches
from gradpm.diagnose.users import Users
from gradpm.trace.model import Trace
from gradpm.trace.schema import Leaf, LeafKind, Op, Table

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


def random_run(turn: random.Random, folder: Path) -> Facts:
    """A few steps of random ops on a few parameters; half of these carry values on to the next."""
    written, carries = Written(), turn.random() < 0.5
    parameters = [-1 - at for at in range(4)]
    for serial in parameters:
        written.parameter(serial)
        written.op("uniform_", [serial], [serial], tracked=False)
    known = list(parameters)
    for at in range(120):
        ins = turn.choices(known[-12:] + parameters, k=turn.choice((1, 1, 2)))
        name = turn.choice(("mul", "linear", "add_", "detach", "view", "zeros_like", "item"))
        outs = {"add_": ins[:1], "item": []}.get(name, [100 + at])
        leaf = outs[:1] and outs[0] in parameters  # changed under no_grad
        written.op(name, ins, outs, tracked=turn.random() < 0.8 and not leaf)
        known += outs
        if at % 15 == 14:
            written.call(known[-1])
            if not carries or turn.random() < 0.7:
                del known[4:]
            for other in range(at % 2 * 30):  # an evaluation of something else
                written.op("mul", [1000 + other], [1001 + other], tracked=False)
    return facts_of(written, folder)


@pytest.mark.parametrize("seed", range(20))
def test_rows_that_are_passed_by_together_change_nothing(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = random_run(random.Random(seed), tmp_path)
    serials = random.Random(seed).sample([-1, -2, -3, -4], 2)
    flows = []
    for rows in (1, 7, 1000):
        monkeypatch.setattr("gradpm.diagnose.flow.PART", rows)
        flows.append(Flow(facts, serials).run())
    monkeypatch.setattr("gradpm.diagnose.passing.Rows.pass_by", lambda *_: False)
    flows.append(Flow(facts, serials).run())
    for part in ("tracked", "lost", "frozen", "roots", "escaped", "left_at", "touched", "alias"):
        first, *others = (getattr(flow, part) for flow in flows)
        assert all(other == first for other in others), part


@pytest.mark.parametrize("seed", range(20))
def test_a_run_in_which_nothing_crosses_has_no_links(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = random_run(random.Random(seed), tmp_path)
    quick = links_of(facts)
    monkeypatch.setattr("gradpm.diagnose.crossing._any_crosses", lambda _: True)
    assert quick == links_of(facts)


@pytest.mark.parametrize("spread", [0, 1 << 40])
def test_what_a_tensor_goes_into_is_the_same_by_columns(
    spread: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = random.Random(4)
    lengths = turn.choices((0, 1, 1, 2, 5), k=300)
    starts = array("Q", itertools.accumulate(lengths, initial=0))
    ins = array("q", turn.choices([*range(-3, 120), 119 + spread], k=starts[-1]))
    plain = Users(starts, ins, {-1})
    monkeypatch.setattr("gradpm.diagnose.users.MANY", 0)
    packed = Users(starts, ins, {-1})
    for serial in [*range(-10, 130), 1 << 50, -(1 << 50), 119 + spread]:
        assert list(packed.get(serial)) == list(plain.get(serial))


def test_gradients_are_told_by_call_in_whatever_order_they_were_read(tmp_path: Path) -> None:
    turn = random.Random(3)
    rows = [(call, leaf, turn.randrange(7)) for call in range(6) for leaf in (-1, -2, -3)]
    for shuffled in (False, True):
        written = Written()
        for _ in range(5):
            written.call(1)
        if shuffled:
            turn.shuffle(rows)
            rows.append((2, -2, 6))  # twice in one call: the later counts
        for call, leaf, state in rows:
            flags = int(Leaf.REQUIRES | Leaf.FRESH) if state % 2 else int(Leaf.REQUIRES)
            written.add(Table.GRAD, backward=call, leaf=leaf, state=state, flags=flags)
        facts = facts_of(written, tmp_path)
        last = {(call, leaf): state for call, leaf, state in rows if call < 5}
        told = {(b.number, s): int(g.state) for b in facts.backwards for s, g in b.grads.items()}
        assert told == last
        for leaf in (-1, -2, -3):
            odd = [call for call in range(5) if last[call, leaf] % 2]
            fed = facts.gradients.calls_that_fed(leaf)
            assert [call.number for call in fed] == odd
            assert [call.number for call in facts.backwards if call.grads.is_fresh(leaf)] == odd
