"""GP405: learning rates of 0, for all that an optimizer owns or for one group; rates that fade."""

from __future__ import annotations

import ast

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Severity
from gradpm.diagnose.optimizers import Optimizer
from gradpm.diagnose.steps import Step
from gradpm.diagnose.words import place
from gradpm.trace.schema import FileKind

FEWEST_STEPS = 3
FADED = 1e-10  # a rate at which an update of usual size is lost in single precision
FEWEST_FADED = 8


def find(case: Case, optimizer: Optimizer, steps: list[Step]) -> None:
    """Judge the rates of one optimizer's steps."""
    _without_rate(case, optimizer, steps)
    _idle_groups(case, optimizer, steps)
    _faded(case, optimizer, steps)


def _without_rate(case: Case, optimizer: Optimizer, steps: list[Step]) -> None:
    """lr was 0 in every step."""
    rates = [rate for step in steps for rate in step.rates]
    if not rates or any(rate is None or rate != 0.0 for rate in rates):
        return
    places, words = case.places, case.words
    serials = [s for s in optimizer.params if _got_some(case, s)]
    if not serials:
        return
    made = places.of(optimizer.frame, "culprit")
    schedule = _schedule(case, optimizer)
    given = {options.get("lr") for options in optimizer.options}
    culprit, why = made, "It was built with lr = 0"
    if given - {0, None} or schedule is not None:
        culprit = _sets_rate(case, optimizer) or made
        why = f"The schedule at {place(culprit)} gives 0 at every step"
    optimizer_at = places.of(optimizer.frame, "optimizer") if culprit != made else None
    subjects = words.parameters(serials)
    name = places.target(optimizer.frame) or optimizer.type
    case.finding(
        "GP405",
        Severity.ERROR,
        f"The learning rate of `{name}` is 0 in all {len(steps)} steps: "
        f"{words.who(subjects, serials)} never changed",
        f"{why}, so each step of `{name}` multiplies its update by 0. The gradients are there and "
        "are right; they are never applied.",
        f"give `{name}` a rate above 0: {place(culprit)}; where it is computed, divide with `/` "
        "(32 // 256 is 0)",
        subjects=subjects,
        locations=[culprit, optimizer_at],
        backward=1,
        backwards=len(steps),
    )


def _idle_groups(case: Case, optimizer: Optimizer, steps: list[Step]) -> None:
    """A group whose rate was 0 in every step, beside groups that have one."""
    idle: list[int] = []
    built_with = set()
    for at, members in enumerate(optimizer.groups):
        rates = [step.rates[at] for step in steps if at < len(step.rates)]
        if len(rates) >= FEWEST_STEPS and all(rate == 0.0 for rate in rates):
            idle += [s for s in members if s in case.expected.learners and _got_some(case, s)]
            built_with.add(optimizer.options[at].get("lr"))
    idle = [serial for serial in idle if serial not in case.explained]
    if not idle or not any(rate for step in steps for rate in step.rates):
        return
    places, words = case.places, case.words
    made = places.of(optimizer.frame, "culprit")
    culprit, why = made, "with groups of different rates, and"
    if built_with - {0, None}:
        culprit = _sets_rate(case, optimizer) or made
        why = f"and {place(culprit)} sets its groups' rates:"
    subjects = words.parameters(idle)
    who = words.who(subjects, idle)
    name = places.target(optimizer.frame) or optimizer.type
    meant = _says_zero(case)
    case.finding(
        "GP405",
        Severity.NOTE if meant else Severity.WARNING,
        f"The learning rate that `{name}` has for {who} is 0 in all {len(steps)} steps: "
        f"{'it' if len(subjects) == 1 else 'they'} never changed",
        f"`{name}` was built at {place(made)} {why} that of {who} "
        "is 0, so each step multiplies the update by 0. The gradients are there and are right; "
        "they are never applied.",
        "freeze them with requires_grad_(False), which saves their gradients too, if they are not "
        "meant to learn"
        if meant
        else f"give that group a rate above 0 where the groups of `{name}` are made; where it is "
        "computed, divide with `/` (1 // 3 is 0)",
        subjects=subjects,
        locations=[culprit, made, places.of(steps[0].event.frame, "step")],
        backward=1,
        backwards=len(steps),
    )


def _says_zero(case: Case) -> bool:
    """Whether the source itself writes a rate, or a factor of one, as 0: then it is meant."""
    for path, kind in case.trace.files:
        tree = case.places.code(path).tree if kind is FileKind.USER else None
        for node in ast.walk(tree) if tree is not None else ():
            if any(_is_rate(name) and _is_zero(value) for name, value in _given(node)):
                return True
    return False


def _given(node: ast.AST) -> list[tuple[str, ast.expr | None]]:
    """(name, value) of what a node gives a value to: a variable, a key, an argument."""
    if isinstance(node, ast.Assign):
        return [(ast.unparse(target), node.value) for target in node.targets]
    if isinstance(node, ast.AnnAssign):
        return [(ast.unparse(node.target), node.value)]
    if isinstance(node, ast.keyword):
        return [(node.arg or "", node.value)]
    if isinstance(node, ast.Lambda):  # LambdaLR(optimizer, [lambda step: 0.0, ...])
        return [("rate", node.body)]
    if isinstance(node, ast.Dict):
        keys = [ast.unparse(key) if key is not None else "" for key in node.keys]
        return list(zip(keys, node.values, strict=True))
    if isinstance(node, ast.arguments):
        plain = [*node.posonlyargs, *node.args][-len(node.defaults) :] if node.defaults else []
        return [
            *((a.arg, d) for a, d in zip(plain, node.defaults, strict=True)),
            *((a.arg, d) for a, d in zip(node.kwonlyargs, node.kw_defaults, strict=True)),
        ]
    return []


def _is_rate(name: str) -> bool:
    return "lr" in name.lower() or "rate" in name.lower()


def _is_zero(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and type(value.value) in (int, float) and not value.value


def _faded(case: Case, optimizer: Optimizer, steps: list[Step]) -> None:
    """The schedule took the rate to nothing early on, and most steps changed nothing."""
    rates = [max((rate for rate in step.rates if rate is not None), default=0.0) for step in steps]
    highest = max(rates)
    low = [rate < FADED and rate < 1e-6 * highest for rate in rates]
    begin = len(low) - next((n for n, one in enumerate(reversed(low)) if not one), len(low))
    left = len(steps) - begin
    serials = [serial for serial in optimizer.params if _got_some(case, serial)]
    if not serials or left < max(FEWEST_FADED, len(steps) / 2) or not highest:
        return
    places, words = case.places, case.words
    made = places.of(optimizer.frame, "optimizer")
    culprit = _sets_rate(case, optimizer) or made
    subjects = words.parameters(serials)
    name = places.target(optimizer.frame) or optimizer.type
    case.finding(
        "GP405",
        Severity.WARNING,
        f"The learning rate of `{name}` is next to nothing from step {begin + 1} of {len(steps)} "
        f"on: {words.who(subjects, serials)} stay as they are",
        f"The schedule at {place(culprit)} took the rate from {highest:.1e} to "
        f"{rates[begin]:.1e} in {begin} steps, and to {rates[-1]:.1e} at the end. "
        "An update of that size is lost in rounding. Stepping a schedule per batch that is meant "
        "per epoch is the usual reason.",
        f"step the schedule made at {place(culprit)} once per epoch, or let it fall more slowly",
        subjects=subjects,
        locations=[culprit, made, places.of(steps[begin].event.frame, "step")],
        backward=max(steps[begin].event.backward, 1),
        backwards=left,
    )


def _schedule(case: Case, optimizer: Optimizer) -> Location | None:
    events = [e for e in case.trace.events if e.kind == "schedule.new" and e.object == optimizer.id]
    return case.places.of(events[0].frame, "culprit") if events else None


def _sets_rate(case: Case, optimizer: Optimizer) -> Location | None:
    """The schedule that sets the rate, or the line that does so by hand."""
    return _schedule(case, optimizer) or case.loop.sets_rate()


def _got_some(case: Case, serial: int) -> bool:
    return serial in case.facts.gradients.ever_some
