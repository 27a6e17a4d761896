"""What to change where operands do not go together: by their types, their devices, their sizes."""

from __future__ import annotations

import re
from math import prod

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Subject
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.raised import Raised
from gradpm.diagnose.words import place, quoted

LOSSES = frozenset("cross_entropy nll_loss ctc_loss multi_margin_loss".split())
MATRICES = re.compile(r"cannot be multiplied \((\d+)x(\d+) and (\d+)x(\d+)\)")
RANGE = re.compile(r"index out of range|is out of bounds|out of range", re.I)
CASTS = {
    "float32": ".float()", "float64": ".double()", "float16": ".half()",
    "bfloat16": ".bfloat16()", "int64": ".long()",
}  # fmt: skip
MOST_SIZES = 8


def cure_of_mismatch(
    case: Case,
    op: OpRow,
    raised: Raised,
    odd: list[Subject],
    what: str,
    origins: list[tuple[str, Location]],
) -> str:
    """The smallest edit; `odd` holds the operands, the one to blame first."""
    if not odd:
        return "give the op what its documentation asks for"
    first = odd[0]
    at = next((location for origin, location in origins if origin == first.name), None)
    where = f" at {place(at)}" if at is not None else ""
    if what == "dtype":
        return _of_type(case, op, odd, where)
    if what == "device":
        return (
            f"move {quoted(first.name)} where the others are{where}: `.to(device)`; register a "
            "constant of a module as a buffer so that it moves along"
        )
    known = _of_linear_or_table(op, raised, odd) or _of_sizes(op, odd)
    if known:
        return known
    shapes = []
    for subject in odd[:2]:
        made = next((location for origin, location in origins if origin == subject.name), None)
        from_ = f" from {place(made)}" if made is not None else ""
        shapes.append(told(case, subject, "shape") + from_)
    return f"make the sizes agree: {' and '.join(shapes)}"


def told(case: Case, subject: Subject, what: str) -> str:
    """An operand with the property that matters: `x` [4, 864]."""
    spec = case.facts.spec_of(subject.serial)
    detail = {"device": spec.device, "dtype": spec.dtype}.get(what, str(list(spec.shape)))
    if what == "shape" and len(subject.shape or ()) > MOST_SIZES:
        detail = f"of {len(subject.shape or ())} dimensions"
    return f"{quoted(subject.name)} {detail}"


def _of_type(case: Case, op: OpRow, odd: list[Subject], where: str) -> str:
    first = odd[0]
    if op.name in LOSSES:
        return f"class indices are whole numbers: give it `{first.name}.long()`"
    own = case.facts.spec_of(first.serial).dtype
    others = (case.facts.spec_of(subject.serial).dtype for subject in odd[1:])
    wanted = next((dtype for dtype in others if dtype != own), "")
    if wanted:
        cast = CASTS.get(wanted, f".to(torch.{wanted})")
        return f"bring {quoted(first.name)} to {wanted}{where}: `{first.name}{cast}`"
    return f"bring {quoted(first.name)} to the type that is wanted{where}, such as `.float()`"


def _of_linear_or_table(op: OpRow, raised: Raised, odd: list[Subject]) -> str:
    """A Linear of the wrong width, an index beyond a table, a mask subtracted, a batch of one."""
    if "with a bool tensor" in raised.message:
        return f"invert a mask by `~`: `~{odd[0].name}`, or subtract numbers: `.float()`"
    if "more than 1 value per channel" in raised.message:
        return (
            "the batch holds one sample, whose variance is not defined: give the DataLoader "
            "drop_last=True, or call .eval() where nothing is trained"
        )
    classes = next((s.shape[1] for s in odd if len(s.shape or ()) == 2 and s.shape), 0)
    if op.name in LOSSES and RANGE.search(raised.message) and classes:
        return (
            f"there are {classes} classes, so {quoted(odd[-1].name)} may hold 0 to {classes - 1}: "
            "count from 0, or give the last layer more outputs"
        )
    weight = next((s for s in odd if s.kind == "parameter" and len(s.shape or ()) == 2), None)
    given = next((s for s in odd if s.kind != "parameter"), None)
    if weight is None or given is None or not weight.shape:
        return ""
    module = weight.name.rpartition(".")[0] or weight.name
    matrices = MATRICES.search(raised.message)
    if matrices and op.name == "linear":
        return (
            f"make in_features of `{module}` {matrices.group(2)}, the last size of "
            f"{quoted(given.name)}, or bring {quoted(given.name)} to a last size of "
            f"{matrices.group(3)}"
        )
    if op.name in ("embedding", "embedding_bag") and RANGE.search(raised.message):
        return (
            f"`{module}` has {weight.shape[0]} rows, so {quoted(given.name)} may hold 0 to "
            f"{weight.shape[0] - 1}: make num_embeddings larger, or mend the indices"
        )
    return ""


def _of_sizes(op: OpRow, odd: list[Subject]) -> str:
    """Sizes asked of a view, channels that come last, a dimension of one too many."""
    one, two = odd[0], odd[1] if len(odd) > 1 else None
    shape = one.shape or ()
    if op.name in ("view", "reshape", "unflatten") and len(odd) == 1:
        return (
            f"{quoted(one.name)} {list(shape)} holds {prod(shape)} numbers: ask for sizes whose "
            "product is that, or let one of them be -1"
        )
    if two is None or not two.shape:
        return ""
    other = two.shape
    if op.name == "conv2d" and len(shape) == 4 and other[1] == shape[-1] != shape[1]:
        return f"channels come second: `{one.name}.permute(0, 3, 1, 2)`"
    if op.name.endswith("loss") or "cross_entropy" in op.name:
        for longer, shorter in ((one, two), (two, one)):
            sizes = longer.shape or ()
            if sizes[-1:] == (1,) and sizes[:-1] == (shorter.shape or ()):
                return (
                    f"drop the last dimension: `{longer.name}.squeeze(-1)`, or give "
                    f"{quoted(shorter.name)} one: `{shorter.name}.unsqueeze(-1)`"
                )
    return ""
