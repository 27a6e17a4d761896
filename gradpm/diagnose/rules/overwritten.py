"""GP405: what each step changed is overwritten before anything but a look has used it."""

from __future__ import annotations

import bisect
import itertools
from collections import Counter

from gradpm.diagnose.ancestry import ELSEWHERE, ancestors
from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Severity
from gradpm.diagnose.op_names import NO_VALUE, VIEWS, views_of
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.optimizers import Optimizer
from gradpm.diagnose.words import place
from gradpm.trace.schema import Op

FEWEST = 3
NEARLY_ALL = 0.9
# nothing of what stood there before is left; nn.init's functions are known by their names
OVERWRITING = frozenset(
    """copy_ set_ fill_ zero_ data.__set__ normal_ uniform_ trunc_normal_ constant_ ones_ zeros_
    eye_ dirac_ orthogonal_ sparse_ xavier_uniform_ xavier_normal_ kaiming_uniform_
    kaiming_normal_ random_ exponential_ bernoulli_""".split()
)
SHOWN = frozenset("item __float__ __format__ tolist __bool__ __int__".split())
LOOKING = SHOWN | frozenset(
    """pow square abs sum norm linalg_norm linalg_vector_norm vector_norm mean std var max min amax
    amin sqrt sub add __radd__ __add__ stack isfinite isnan isinf all any float
    _foreach_norm""".split()
)
LONGEST_LOOK = 1000  # ops
TOGETHER = frozenset("_foreach_copy_ _foreach_zero_".split())


def find(case: Case) -> None:
    """Judge every optimizer: what becomes of its updates from one step to the next."""
    for optimizer in case.facts.optimizers:
        steps = [step for step in case.loop.steps[optimizer.id] if step.done is not None]
        windows = [
            (before.done.op, after.event.op)
            for before, after in itertools.pairwise(steps)
            if before.done is not None and not before.in_backward
        ]
        if len(windows) < FEWEST:
            continue
        found: dict[int, list[OpRow]] = {}
        for serial in optimizer.params:
            if serial not in case.explained and serial in case.loop.first_fresh:
                undone = _undone(case, serial, windows)
                enough = len(undone) >= NEARLY_ALL * len(windows)
                if enough and not _tied(case, undone[-1], serial, windows[-1][0]):
                    found[serial] = undone
        if found:
            _tell(case, optimizer, found, len(steps))


def _undone(case: Case, serial: int, windows: list[tuple[int, int]]) -> list[OpRow]:
    """In each window the op that overwrote the parameter, if it was the first to touch it."""
    facts = case.facts
    aliases = _aliases(case, serial)
    rows = sorted({row for one in aliases for row in facts.users.get(one, ())})
    found = []
    for first, end in windows:
        at = bisect.bisect_left(rows, facts.row_at(first))
        later = map(rows.__getitem__, range(at, len(rows)))
        touching = (o for row in later if _touches(o := facts.op(row)))
        op = next((o for o in touching if not _is_look(case, o)), None)
        if op is not None and op.id < end and _overwrites(op, aliases):
            found.append(op)
        elif not found:
            return []  # the usual case: the next forward uses it
    return found


def _aliases(case: Case, serial: int) -> set[int]:
    """The parameter, its `.data` and every other view that was made of it."""
    facts = case.facts
    names, viewing = facts.op_names, facts.named(VIEWS)
    found = {serial}
    queue = [serial]
    while queue:
        one = queue.pop()
        for row in facts.users.get(one, ()):
            if names[row] in viewing:
                views = {v for base, v in views_of(facts.op(row)) if base == one} - found
                found |= views
                queue += views
    return found


def _touches(op: OpRow) -> bool:
    """Whether an op reads or writes values, where the program itself asks for it."""
    if op.has(ELSEWHERE) or op.has(Op.UNSEEN) or op.name in NO_VALUE:
        return False
    return op.name in OVERWRITING or not (op.has(Op.SETTER) or views_of(op))


def _is_look(case: Case, op: OpRow) -> bool:
    """Whether a read leads to a number to be shown, a norm say, and to nothing else."""
    if op.name in SHOWN:
        return False  # of the parameter itself: the number is what was wanted
    queue, seen = [op], {op.row}
    for one in queue:
        if one.name not in LOOKING or one.has(Op.OUT_REQUIRES) or len(queue) > LONGEST_LOOK:
            return False
        for serial in one.outs:
            for row in case.facts.users.get(serial, ()):
                if row not in seen:
                    seen.add(row)
                    queue.append(case.facts.op(row))
    return True


def _overwrites(op: OpRow, aliases: set[int]) -> bool:
    if op.name in TOGETHER:
        half = len(op.ins) // 2 if op.name == "_foreach_copy_" else len(op.ins)
        return not aliases.isdisjoint(op.ins[:half]) and aliases.isdisjoint(op.ins[half:])
    return (
        op.name in OVERWRITING and op.ins[:1] != () and op.ins[0] in aliases
        and aliases.isdisjoint(op.ins[1:])
    )  # fmt: skip


def _tied(case: Case, op: OpRow, serial: int, since: int) -> bool:
    """Whether the new values are another learner's, read since the step: alike on purpose."""
    facts = case.facts
    for source in op.ins[1:]:
        while (row := facts.makers.get(source)) is not None:
            bases = [base for base, view in views_of(facts.op(row)) if view == source]
            if not bases:
                break
            source = bases[0]
        if source in facts.owners and source != serial:
            return True
    read = (facts.op(row) for row in ancestors(facts, op.ins[1:], op.id))
    taken = {one for op in read if op.id >= since for one in op.ins}
    return any(one in facts.owners for one in taken - {serial})


def _tell(case: Case, optimizer: Optimizer, found: dict[int, list[OpRow]], steps: int) -> None:
    places, words = case.places, case.words
    frames = Counter(op.frame for undone in found.values() for op in undone)
    culprit = places.of(frames.most_common(1)[0][0], "culprit")
    stepped = places.of(case.loop.steps[optimizer.id][0].event.frame, "step")
    subjects = words.parameters(found)
    who = words.who(subjects, list(found))
    count = max(len(undone) for undone in found.values())
    name = places.target(optimizer.frame) or optimizer.type
    case.finding(
        "GP405",
        Severity.ERROR,
        f"What `{name}` learns is overwritten: {place(culprit)} fills {who} anew after each step",
        f"The step at {place(stepped)} updates {who}, and before anything computes with the new "
        f"values {place(culprit)} puts others in their place, in {count} of {steps} steps. So "
        "training begins anew each time, and nothing is learnt.",
        f"move {place(culprit)} out of the loop, before the first step",
        subjects=subjects,
        locations=[culprit, stepped, places.of(optimizer.frame, "optimizer")],
        backward=case.facts.accumulating[0].number + 1 if case.facts.accumulating else None,
        backwards=count,
    )
