"""GP216: DistributedDataParallel waited for gradients of parameters that the loss does not use."""

from __future__ import annotations

import re

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Step
from gradpm.diagnose.raised import Raised
from gradpm.diagnose.rules.inplace_leaf import created
from gradpm.diagnose.words import listed, place
from gradpm.trace.schema import GradState, LeafKind

SAYS = "Expected to have finished reduction in the prior iteration"
INDICES = re.compile(r"did not receive grad for rank (\d+):\s*([\d ]+)")
NAMES = re.compile(r"did not receive grad for rank \d+:\s*([A-Za-z_][\w., ]*)")


def find(case: Case) -> None:
    """The first error of this kind."""
    for raised in case.raised:
        if SAYS in raised.message and not raised.taken:
            raised.taken = True
            _tell(case, raised)
            return


def _unused(case: Case, raised: Raised) -> list[int]:
    """The parameters by the indices that DDP gives; else those without a gradient."""
    ordered = [
        serial
        for serial in sorted(case.facts.parameters, key=_order(case))
        if case.trace.leaves[serial].kind is LeafKind.PARAMETER
        and case.trace.leaves[serial].flags & 1
    ]
    starved = _starved(case, ordered)
    match = INDICES.search(raised.message)
    if match is None:
        return starved
    indices = [int(index) for index in match.group(2).split()]
    wrapped = [s for s in ordered if ".module." in f".{case.trace.name(s)}"] or ordered
    chosen = [wrapped[index] for index in indices if index < len(wrapped)]
    return chosen if set(chosen) <= set(starved) or not starved else starved


def _order(case: Case):  # type: ignore[no-untyped-def]
    positions = {serial: at for at, serial in enumerate(case.trace.names)}
    return lambda serial: positions.get(serial, 1 << 30)


def _starved(case: Case, serials: list[int]) -> list[int]:
    last = next((b for b in reversed(case.facts.backwards) if not b.is_grad_call), None)
    if last is None:
        return []
    return [s for s in serials if _got_nothing(last, s)]


def _got_nothing(call: Backward, serial: int) -> bool:
    grad = call.grads.get(serial)
    return grad is not None and (grad.state is GradState.NONE or not grad.fresh)


def _tell(case: Case, raised: Raised) -> None:
    serials = _unused(case, raised)
    subjects = [case.words.parameter(serial) for serial in serials]
    who = case.words.who(subjects, serials) if subjects else "some parameters"
    made = created(case, serials[0]) if serials else None
    at = case.places.of(raised.error.frame, "raised")
    last = next((b for b in reversed(case.facts.backwards) if not b.is_grad_call), None)
    backward = case.places.of(last.frame, "backward") if last is not None else None
    why, more = _reason(case, serials)
    match = INDICES.search(raised.message)
    rank = match.group(1) if match else case.trace.meta.get("rank")
    on = f" on rank {rank}" if rank is not None else ""
    lost = listed([subject.name for subject in subjects])
    case.finding(
        "GP216",
        raised.severity,
        f"{who} got no gradient{on}, and DDP waits for {'it' if len(subjects) == 1 else 'them'}",
        f"DistributedDataParallel expects a gradient of every parameter in each backward(). {lost} "
        f"got none from backward() at {place(backward)}{on}: {why} The next forward, at "
        f"{place(at)}, noticed.{raised.end}",
        "let the forward use it, remove it, or pass find_unused_parameters=True to "
        "DistributedDataParallel if it is unused on purpose in some steps",
        subjects=subjects,
        locations=[made, *more, at, backward],
        path=[
            Step("parameter", subjects[0].name if subjects else "parameter", "", made),
            Step("cut", "DDP reduction", "no gradient arrived", at),
        ],
        backward=last.number + 1 if last is not None else None,
        backwards=len(case.facts.backwards),
    )


def _reason(case: Case, serials: list[int]) -> tuple[str, list[Location]]:
    """Why the first of them got nothing, by the flow of its value."""
    from gradpm.diagnose.cuts import classify

    if not serials:
        return "which ones was not recorded.", []
    flow = case.flow
    bit = flow.bit.get(serials[0], 0)
    touch = flow.touched.get(serials[0])
    for state in flow.roots.values():
        rows = [row for row, bits in state.lost.items() if bits & bit]
        if rows:
            cut = min((classify(case, row) for row in rows), key=lambda cut: (cut.rank, cut.op.row))
            places = [cut.culprit] if cut.culprit is not None else []
            return f"{cut.what} at {place(cut.culprit)} cut the path to the loss.", places
    if touch is None or touch.last_tracked < 0:
        return "no op of the forward took it.", []
    last = case.places.of(case.facts.op(touch.last_tracked).frame, "last use")
    where = [last] if last is not None else []
    return f"what {place(last)} computes from it never reaches the loss.", where
