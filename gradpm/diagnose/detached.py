"""Cuts that hand out a value without its history: detach, `.data`, new leaves, first-order grad."""

from __future__ import annotations

from gradpm.diagnose.case import Case
from gradpm.diagnose.cut import Cut, carrier_of, place_of, value_of
from gradpm.diagnose.finding import Location
from gradpm.diagnose.handed import only_leaves
from gradpm.diagnose.op_names import SWITCHES
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.words import place, spoken
from gradpm.diagnose.written import written
from gradpm.trace.schema import Op


def detached(case: Case, op: OpRow) -> Cut:
    """A detach, a `.data`, or a call of torch's that does one inside."""
    culprit, _, extra = place_of(case, op)
    carrier = carrier_of(case, op)
    value = value_of(case, op)
    what = f"`{carrier}()`" if carrier else spoken(op)
    why = (
        f"{what} hands out the same values without their history: autograd sees the result as a "
        "constant, so nothing behind it gets a gradient."
    )
    fix = f"drop {what}"
    if value:
        fix = f"use `{value}` itself instead of its detached copy"
    given, whole = written(case, op)
    if given and not carrier:
        fix = f"write `{given}` instead of `{whole}` at {place(culprit)}"
    if carrier:
        fix = f"do not take the values through `{carrier}()`: it detaches them"
        if carrier == "vector_to_parameters":
            fix = "use torch.func.functional_call with views of the vector instead"
    elif op.name == "data.__set__":
        fix = "compute with the new tensor itself (torch.func.functional_call), not through `.data`"
    if op.outs and not carrier and only_leaves(case, op.outs):
        return _handed_out(op, given or value, culprit, extra)
    turned = _turned_leaf(case, op)
    if turned is not None:
        why = (
            f"{what} drops the history and requires_grad_ makes a new leaf of the result: the "
            "gradient stops in the new tensor and never reaches what the value was computed from."
        )
        what = f"`{carrier}()`" if carrier else what
        fix = (
            f"keep `{given or value or 'the tensor'}` attached, without requires_grad_; "
            "to read its gradient call its retain_grad()"
        )
        if carrier == "stack_module_state":
            fix = "give the optimizer the tensors that stack_module_state returns, which are leaves"
        return Cut(op, "GP114", culprit, (turned, *extra), what, why, fix, 0)
    return Cut(op, "GP101", culprit, tuple(extra), what, why, fix, 0)


def _handed_out(op: OpRow, given: str, culprit: Location | None, extra: list[Location]) -> Cut:
    """Detached because numpy or Python asks for it: the way out of torch is what cuts."""
    why = (
        f"{spoken(op)} lets the numbers out of torch, and what is built from them afterwards is a "
        "new constant without history."
    )
    name = f"`{given}`" if given else "the value"
    fix = f"keep {name} in torch: compute with torch functions from there to the loss"
    return Cut(op, "GP104", culprit, tuple(extra), spoken(op), why, fix, 0)


def _turned_leaf(case: Case, op: OpRow) -> Location | None:
    """Where what was detached here was told to require grad, before anything was made of it."""
    for out in op.outs or op.ins[:1]:
        for row in case.facts.users.get(out, ()):
            later = case.facts.op(row)
            if row > op.row and later.name in SWITCHES:
                if not later.has(Op.NONE_SET):
                    return case.places.of(later.frame, "new leaf")
                break
    return None


def rewrapped(case: Case, op: OpRow) -> Cut:
    """A new leaf of a tracked value: `nn.Parameter(t)`, `torch.tensor(t, requires_grad=True)`."""
    culprit, _, extra = place_of(case, op)
    what = spoken(op)
    why = (
        f"{what} makes a new leaf from the value: the gradient stops in the new tensor and never "
        "reaches what the value was computed from."
    )
    value = written(case, op)[0] or value_of(case, op) or "the value"
    fix = f"use `{value}` itself; to read its gradient, name it and call its retain_grad()"
    code = "GP114"
    return Cut(op, code, culprit, tuple(extra), what, why, fix, 0)


def first_order(case: Case, op: OpRow) -> Cut:
    """The gradients that `autograd.grad` returns without create_graph."""
    culprit, _, extra = place_of(case, op)
    why = (
        "torch.autograd.grad was called without create_graph=True: the gradients it returns are "
        "constants, so what is computed from them cannot be differentiated again."
    )
    fix = "pass create_graph=True to this torch.autograd.grad call"
    return Cut(op, "GP101", culprit, tuple(extra), spoken(op), why, fix, 3)
