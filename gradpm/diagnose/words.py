"""Names and phrases: how findings speak of parameters, tensors, ops and places."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.facts import Facts
from gradpm.diagnose.finding import Location, Subject
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.places import Places
from gradpm.trace.schema import LeafKind

SPOKEN = {
    "__getitem__": "indexing",
    "__rsub__": "the subtraction `-`",
    "__floordiv__": "the floor division `//`",
    "__rfloordiv__": "the floor division `//`",
    "floor_divide": "the floor division `//`",
    "__setitem__": "index assignment",
    "data.__get__": "`.data`",
    "data.__set__": "assignment to `.data`",
    "detach": "`.detach()`",
    "detach_": "`.detach_()`",
    "item": "`.item()`",
    "tolist": "`.tolist()`",
    "numpy": "`.numpy()`",
    "__array__": "conversion to a numpy array",
    "__float__": "`float()`",
    "__int__": "`int()`",
    "__bool__": "`bool()`",
    "__index__": "use as an index",
    "tensor": "`torch.tensor(...)`",
    "as_tensor": "`torch.as_tensor(...)`",
    "gt": "the comparison `>`",
    "lt": "the comparison `<`",
    "ge": "the comparison `>=`",
    "le": "the comparison `<=`",
    "eq": "the comparison `==`",
    "ne": "the comparison `!=`",
    "__eq__": "the comparison `==`",
    "__ne__": "the comparison `!=`",
    "Parameter": "`nn.Parameter(...)`",
    "Variable": "`Variable(...)`",
    "autograd.grad": "`torch.autograd.grad(...)`",
}


class Words:
    """Names of things, from the trace's names, the source and, last, the op."""

    def __init__(self, facts: Facts, places: Places) -> None:
        self.facts = facts
        self.places = places

    def parameter(self, serial: int) -> Subject:
        """A parameter or leaf as a subject."""
        leaf = self.facts.trace.leaves.get(serial)
        name = self.facts.trace.name(serial) or self.tensor_name(serial)
        if leaf is None:
            return self.tensor(serial)
        kind = "parameter" if leaf.kind is LeafKind.PARAMETER else "tensor"
        if leaf.kind is LeafKind.BUFFER:
            kind = "buffer"
        return Subject(kind, name, leaf.spec.shape, leaf.spec.dtype, serial)

    def parameters(self, serials: Iterable[int]) -> tuple[Subject, ...]:
        """Parameters as subjects, in the order in which they were made.

        A variable that holds a new tensor in each step is told once.
        """
        ordered = sorted(serials, key=lambda serial: (serial > 0, abs(serial)))
        found: dict[object, Subject] = {}
        for serial in ordered:
            subject = self.parameter(serial)
            again = (subject.name, subject.shape) if subject.kind == "tensor" else serial
            found.setdefault(again, subject)
        return tuple(found.values())

    def tensor(self, serial: int) -> Subject:
        """Any tensor as a subject."""
        spec = self.facts.spec_of(serial)
        return Subject("tensor", self.tensor_name(serial), spec.shape, spec.dtype, serial)

    def tensor_name(self, serial: int) -> str:
        """The variable that held it, the one it was assigned to, or its op and shape."""
        held = [
            f"{root}.{path}".strip(".") for root, path in self.facts.trace.names.get(serial, ())
        ]
        plain = next((name for name in held if name.isidentifier()), "")
        if plain:
            return plain
        row = self.facts.makers.get(serial)
        if row is not None:
            op = self.facts.op(row)
            target = self.places.target(op.frame)
            if target or held:
                return target or held[0]
            return f"the result of {spoken(op)}"
        leaf = self.facts.trace.leaves.get(serial)
        if held:
            return held[0]
        if leaf is not None:
            return self.places.target(leaf.frame) or f"a tensor {list(leaf.spec.shape)}"
        return "a tensor"

    def root_module(self, serials: Iterable[int]) -> str:
        """The longest module path that these parameters share: `model.encoder`."""
        names = [self.facts.trace.name(serial).split(".") for serial in serials]
        if not names:
            return ""
        shared: list[str] = []
        for parts in zip(*(name[:-1] for name in names), strict=False):
            if len(set(parts)) > 1:
                break
            shared.append(parts[0])
        return ".".join(shared)

    def who(self, subjects: Sequence[Subject], serials: Sequence[int]) -> str:
        """`model.head.bias`, `both parameters of model.head`, `6 parameters of encoder`."""
        noun = "parameter" if all(s.kind == "parameter" for s in subjects) else "tensor"
        if len(subjects) == 1:
            return f"`{subjects[0].name}`"
        module = self.root_module(serials)
        count = "both" if len(subjects) == 2 else str(len(subjects))
        of = f" of `{module}`" if module else ""
        if len(subjects) == 2 and not module:
            return f"`{subjects[0].name}` and `{subjects[1].name}`"
        return f"{count} {noun}s{of}"


def spoken(op: OpRow) -> str:
    """How a person calls an op."""
    if op.name in SPOKEN:
        return SPOKEN[op.name]
    name = op.name.removesuffix(".__get__").removesuffix(".__set__")
    return f"`{name}`"


def engine_call(call: Backward) -> str:
    """`backward()` or `autograd.grad()`, whichever it was."""
    return "autograd.grad()" if call.is_grad_call else "backward()"


def listed(names: Sequence[str], most: int = 3) -> str:
    """`a`, `b` and `c`; the rest counted."""
    shown = [f"`{name}`" for name in names[:most]]
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


def is_nameless(name: str) -> bool:
    """Whether these are words that stand for a tensor without a name in the code."""
    return name.startswith(("the result of ", "a tensor"))


def quoted(name: str) -> str:
    """A name from the code in backticks; words that stand for one as they are."""
    return name if is_nameless(name) else f"`{name}`"


def place(location: Location | None) -> str:
    """`model.py:31`, or words for a place that is not known."""
    return location.short() if location is not None else "a line that was not recorded"


def sentence(text: str) -> str:
    """The text with a capital, unless it begins with code."""
    first = text.partition(" ")[0]
    return text if "(" in first or "." in first else text[:1].upper() + text[1:]


def verb(count: int) -> str:
    """`gets` or `get`."""
    return "gets" if count == 1 else "get"
