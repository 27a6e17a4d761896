"""The few words that stand behind a line in the source: why it is marked."""

from __future__ import annotations

from gradpm.diagnose.finding import Finding, Location, Step

_CULPRIT = {
    "GP101": "the gradient stops here",
    "GP102": "no graph is made here",
    "GP103": "has no derivative",
    "GP104": "the value leaves autograd here",
    "GP105": "frozen here",
    "GP106": "made here, never used",
    "GP107": "its result never reaches the loss",
    "GP108": "this makes it a non-leaf",
    "GP109": "left out here",
    "GP110": "gives None for it",
    "GP111": "its inputs need no gradient",
    "GP112": "the gradient is cleared here",
    "GP113": "steps without a backward",
    "GP114": "a new leaf, cut off from its past",
    "GP201": "the loss has no graph from here",
    "GP202": "changes what backward needs",
    "GP203": "changes a leaf in place",
    "GP204": "carried into a second backward",
    "GP205": "the loss is no single number",
    "GP206": "a view that may not change",
    "GP207": "gives a gradient that does not fit",
    "GP208": "not part of the graph",
    "GP209": "has no derivative",
    "GP210": "cannot require a gradient",
    "GP211": "numpy asked of a tracked tensor",
    "GP212": "holds a non-leaf",
    "GP213": "made in inference mode",
    "GP214": "runs differently the second time",
    "GP215": "its operands do not fit",
    "GP216": "made here, never used",
    "GP301": "the first bad number",
    "GP302": "its derivative is not finite",
    "GP303": "the gradient becomes zero here",
    "GP304": "the gradient fades here",
    "GP305": "the gradient blows up here",
    "GP401": "the optimizer does not get it",
    "GP402": "replaces what the optimizer holds",
    "GP403": "gradients pile up here",
    "GP404": "finds no fresh gradient",
    "GP405": "never changes",
    "GP406": "this step was skipped",
    "GP407": "keeps the history alive",
}


def reason_for(finding: Finding, place: Location) -> str:
    """Why `place` is marked when `finding` is shown."""
    if place is finding.culprit:
        return _CULPRIT.get(finding.code, finding.name.replace("-", " "))
    return place.role.replace("_", " ")


def lost_words(finding: Finding, step: Step) -> str:
    """Why the gradient is lost at a station of a finding's path."""
    words = step.detail or "the gradient stops here"
    place, culprit = step.location, finding.culprit
    is_culprit = place and culprit and (place.file, place.line) == (culprit.file, culprit.line)
    if finding.code.startswith("GP1") or not is_culprit:
        return words
    return _CULPRIT.get(finding.code, words)


def reason_of(step: Step) -> str:
    """Why a station of the path is marked."""
    if step.kind == "cut":
        return step.detail or "the gradient stops here"
    words = {"loss": "the loss", "backward": "backward starts here", "parameter": "the parameter"}
    return words.get(step.kind, step.detail.partition("\n")[0])
