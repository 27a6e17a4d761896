"""GP301 where the first bad number was not seen: its loss was on a device, and was not read."""

from __future__ import annotations

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.bad_numbers import bad_leaves, recovered
from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Severity
from gradpm.diagnose.rules.diverging import diverges
from gradpm.trace.schema import GradState

TOLD = frozenset(("GP301", "GP302", "GP305"))


def find(case: Case) -> None:
    """The first call that left bad numbers, if nothing more is known of them."""
    if any(finding.code in TOLD for finding in case.findings):
        return
    if any(event.kind == "scaler.step" for event in case.trace.events):
        return  # a scaler skips such steps, and lowers its scale
    for call in case.facts.accumulating:
        serials = bad_leaves(case, call)
        if serials:
            seen = call.loss is not None or recovered(case, call)
            if not seen and not any(diverges(case, serial) for serial in call.grads):
                _tell(case, call, serials)
            return


def _tell(case: Case, call: Backward, serials: list[int]) -> None:
    subjects = case.words.parameters(serials)
    who = case.words.who(subjects, serials)
    nan = any(call.grads[serial].state is GradState.NAN for serial in serials)
    value = "NaN" if nan else "infinite"
    case.finding(
        "GP301",
        Severity.ERROR,
        f"The gradient of {who} is {value} from call {call.number + 1} of backward() on; what "
        "made the first bad number was not seen",
        "the loss of that call was not read: it is on a device, which the program would have had "
        "to wait for. Whether it was finite, and which op was the first to go wrong, is not in "
        "this trace.",
        "record again with `--detail full`: then every call is looked at, and the device waited "
        "for",
        subjects=subjects,
        locations=[case.places.of(call.frame, "backward")],
        backward=call.number + 1,
        backwards=sum(bool(bad_leaves(case, later)) for later in case.facts.accumulating),
    )
