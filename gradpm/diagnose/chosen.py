"""A `where` after an op whose derivative is infinite: it hides the value, not the derivative."""

from __future__ import annotations

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.words import place, spoken

HIDING = frozenset("where masked_fill".split())


def chosen_after(case: Case, op: OpRow) -> tuple[Location | None, str, str]:
    """(where a `where` takes an op's result, what to say of it, the cure); empty for none."""
    for serial in op.outs:
        for row in case.facts.users.get(serial, ()):
            user = case.facts.op(row)
            if user.name in HIDING:
                at = case.places.of(user.frame, "hides it")
                return (
                    at,
                    f" {spoken(user)} at {place(at)} puts another value there, yet sends 0 into "
                    "the derivative, and 0 times infinity is NaN.",
                    f"choose before {spoken(op)}, not after it: give it torch.where(mask, x, 1.0) "
                    "in place of x",
                )
    return None, "", ""
