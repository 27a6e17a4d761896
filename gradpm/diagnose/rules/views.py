"""GP206: an in-place change of a view that autograd cannot rewrite the history of."""

from __future__ import annotations

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Step
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.raised import Raised
from gradpm.diagnose.rewritten import rewritten
from gradpm.diagnose.words import place, spoken
from gradpm.trace.model import Frame
from gradpm.trace.schema import Op

SAYS = (
    "is a view and is being modified inplace",
    "A view was created in",
    "a view is being modified inplace",
    "is being modified inplace",
    "Can't detach views in-place",
)
MULTI = frozenset(
    "chunk split unbind __iter__ tensor_split hsplit vsplit dsplit split_with_sizes".split()
)


def find(case: Case) -> None:
    """Each line at which torch refused it."""
    for raised in case.raised:
        if not raised.taken and raised.op is not None and any(s in raised.message for s in SAYS):
            raised.taken = True
            _tell(case, raised, raised.op)


def _tell(case: Case, raised: Raised, op: OpRow) -> None:
    target = op.ins[0] if op.ins else 0
    frame = case.places.frame(op.frame)
    culprit = case.places.at(frame, "culprit")
    maker = _maker(case, raised, target)
    made_at = case.places.of(maker.frame, "view made") if maker is not None else None
    subject = case.called.subject(_named(case, target, frame), frame)
    name = subject.name
    base = case.memory.root(target)
    owner = case.called.known(base) if base != target else ""
    case.finding(
        "GP206",
        raised.severity,
        f"`{name}` is a view{_of(owner)} made at {place(made_at)}, and {spoken(op)} at "
        f"{place(culprit)} modified it in place",
        _why(raised, name, owner, maker, made_at) + raised.end,
        _fix(case, raised, op, name, owner, maker),
        subjects=[subject],
        locations=[culprit, made_at, _mode(case, maker)],
        path=[
            Step("op", _label(maker), f"makes the view {name}", made_at,
                 maker.id if maker is not None else -1),
            Step("cut", spoken(op).strip("`"), "refused: in place on this view", culprit, op.id),
        ],
        backward=len(case.facts.backwards) or None,
        backwards=len(case.facts.backwards),
    )  # fmt: skip


def _named(case: Case, target: int, frame: Frame | None) -> int:
    """The target, or the nearest tensor that it is a view of, that has a name."""
    chain = [target]
    for row in case.memory.way(target):
        chain += case.facts.op(row).ins[:1]
    return next((serial for serial in chain if case.called.known(serial, frame)), target)


def _maker(case: Case, raised: Raised, target: int) -> OpRow | None:
    """The op that made the view: the one with many outputs, or the one with gradients off."""
    ops = [case.facts.op(row) for row in case.memory.way(target)]
    if not ops:
        row = case.facts.makers.get(target)
        return case.facts.op(row) if row is not None else None
    if "multiple views" in raised.message:
        return next((op for op in ops if op.name in MULTI or len(op.outs) > 1), ops[0])
    if "created in" in raised.message:
        return next((op for op in ops if not op.has(Op.GRAD_ENABLED)), ops[0])
    return ops[0]


def _mode(case: Case, maker: OpRow | None) -> Location | None:
    if maker is None or maker.has(Op.GRAD_ENABLED):
        return None
    found = case.places.grad_mode(maker.frame)
    return found[1] if found is not None else None


def _of(owner: str) -> str:
    return f" of `{owner}`" if owner else ""


def _label(maker: OpRow | None) -> str:
    return spoken(maker).strip("`") if maker is not None else "a view"


def _is_no_grad(raised: Raised) -> bool:
    return "no_grad mode" in raised.message or "inference" in raised.message


def _why(
    raised: Raised, name: str, owner: str, maker: OpRow | None, made_at: Location | None
) -> str:
    of = _of(owner)
    how = spoken(maker) if maker is not None else "an op"
    if "detach" in raised.message and "in-place" in raised.message:
        return (
            f"`{name}` is a view{of} made by {how} at {place(made_at)}; detaching it in place "
            "would leave the tensor it looks into with half a history, so torch refuses."
        )
    if _is_no_grad(raised):
        return (
            f"`{name}` is a view{of} that {how} at {place(made_at)} made while gradients were "
            "off. Writing into it with gradients on would have to record a history that the view "
            "does not have, so torch refuses rather than guess."
        )
    if "custom Function" in raised.message or "custom autograd" in raised.message:
        return (
            f"`{name}` is a view that the custom Function at {place(made_at)} returned; an "
            "in-place change would skip the Function's own backward, so torch refuses."
        )
    return (
        f"{how} at {place(made_at)} returned several views{of} at once, `{name}` among them. "
        "Autograd can rewrite the history of a single view, not of one among several, so an "
        "in-place change of any of them is refused."
    )


def _fix(case: Case, raised: Raised, op: OpRow, name: str, owner: str, maker: OpRow | None) -> str:
    if "detach" in raised.message and "in-place" in raised.message:
        return f"`{name} = {name}.detach()`"
    written = rewritten(case.places, case.places.frame(op.frame), op)
    new = f"make a new tensor: `{name} = {name}.{op.name.strip('_')}(...)`"
    if written is not None and written.instead:
        new = f"make a new tensor: `{written.instead}`{written.after}"
    elif (written is not None and written.in_parts) or op.name == "__setitem__":
        new = f"write into a copy: `{name} = {name}.clone()` before this line"
    if _is_no_grad(raised):
        return f"take the view outside the no_grad block, or {new}"
    in_loop = written is not None and written.in_parts
    if maker is not None and (maker.name == "__iter__" or (in_loop and maker.name == "unbind")):
        whole = f"`{owner}`" if owner else "the tensor"
        return (
            f"do not change the rows of {whole} one by one: compute on the whole of it, or "
            "collect new rows in a list and torch.stack them"
        )
    return new
