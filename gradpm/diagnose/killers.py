"""Ops whose backward turns a gradient into nothing but zeros, and what to do about each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kill(Enum):
    """How an op does it."""

    STEP = "step"  # its derivative is 0 everywhere
    GATE = "gate"  # 0 outside some range
    SATURATED = "saturated"
    PRODUCT = "product"  # multiplied by zeros
    MATRIX = "matrix"  # a zero weight, or zero inputs
    OTHER = "other"
    CANCELS = "cancels"


STEP = frozenset("Round Floor Ceil Trunc Fix Sign Sgn Heaviside FloorDivide Bernoulli".split())
GATE = frozenset(
    """Relu Relu6 Clamp ClampMin ClampMax Hardtanh Threshold Hardsigmoid Hardswish Softshrink
    Hardshrink Maximum Minimum Where MaskedFill Max Min Fmax Fmin Elu Gelu Silu LeakyRelu Prelu
    IndexFill MaskedScatter NllLoss NllLoss2D HingeEmbeddingLoss MarginRankingLoss
    Softplus""".split()
)
SATURATED = frozenset(
    "Sigmoid Tanh Softmax LogSoftmax Erf LogSigmoid Exp Logsumexp SafeSoftmax Cos Sin".split()
)
PRODUCT = frozenset("Mul Div Prod Pow".split())
MATRIX = frozenset(
    "Mm Addmm Bmm Baddbmm Mv Addmv Dot Convolution MkldnnConvolution Linear Einsum Addbmm".split()
)
CANCELLING = frozenset(  # they move and add: zeros out of them are sums that cancel
    """Add Sub Sum Mean Neg Expand View T Transpose Permute Unsqueeze Squeeze Select Slice Index
    Cat Stack Split Unbind Clone NativeLayerNorm NativeBatchNorm CudnnBatchNorm NativeGroupNorm Var
    Std LinalgVectorNorm Norm Cumsum Repeat Addcmul Embedding IndexSelect Gather""".split()
)


@dataclass(frozen=True, slots=True)
class Remedy:
    """Why the gradient is zero there, and the usual cure."""

    why: str
    fix: str


BY_KIND = {
    "Round": Remedy(
        "rounding is flat between its steps: its derivative is 0 everywhere",
        "round only for the report, or pass the gradient straight through: "
        "x + (x.round() - x).detach()",
    ),
    "Sign": Remedy(
        "the sign is flat on both sides of 0: its derivative is 0 everywhere",
        "use tanh(x / temperature), or pass the gradient through: x + (x.sign() - x).detach()",
    ),
    "Relu": Remedy(
        "every input of it is negative, where relu is flat: it is dead",
        "start the bias at or above 0, lower the learning rate, or use leaky_relu or gelu",
    ),
    "Clamp": Remedy(
        "every value lies outside the bounds, where clamp is flat",
        "bring the values into the bounds (scale, initial bias), or use a sigmoid or a softplus",
    ),
    "Where": Remedy(
        "the condition picks the other branch everywhere",
        "check the condition: it is the same for every element",
    ),
    "MaskedFill": Remedy(
        "the mask covers every element", "check the mask: it may be the wrong way round"
    ),
    "NllLoss": Remedy(
        "no target counts: all of them are ignore_index",
        "check the targets and ignore_index",
    ),
}
BY_KILL = {
    Kill.STEP: BY_KIND["Round"],
    Kill.GATE: Remedy(
        "every value lies where it is flat",
        "bring its inputs into the range where it is not flat, or use a smooth form of it",
    ),
    Kill.SATURATED: Remedy(
        "every value is so large that it is saturated: its derivative is 0 in this precision",
        "standardise the inputs (zero mean, unit spread) or scale the logits down",
    ),
    Kill.PRODUCT: Remedy(
        "what it is multiplied by is 0 everywhere",
        "check the mask or the weight it is multiplied by: it is 0 throughout",
    ),
    Kill.MATRIX: Remedy(
        "the weight it is multiplied by is 0 throughout",
        "initialise the weight with other numbers than 0",
    ),
    Kill.OTHER: Remedy(
        "its derivative is 0 for every value that went in",
        "look at what goes into it: its values must lie where it is not flat",
    ),
}
SAME = {
    "Floor": "Round", "Ceil": "Round", "Trunc": "Round", "Fix": "Round", "Sgn": "Sign",
    "Heaviside": "Sign", "FloorDivide": "Round", "Bernoulli": "Round", "ClampMin": "Clamp",
    "ClampMax": "Clamp", "Hardtanh": "Clamp", "Threshold": "Relu", "NllLoss2D": "NllLoss",
    "Relu6": "Clamp",
}  # fmt: skip


def kill_of(kind: str) -> Kill:
    """How a node of this kind makes zeros."""
    for names, kill in (
        (STEP, Kill.STEP), (GATE, Kill.GATE), (SATURATED, Kill.SATURATED),
        (PRODUCT, Kill.PRODUCT), (MATRIX, Kill.MATRIX),
        (CANCELLING, Kill.CANCELS),
    ):  # fmt: skip
        if kind in names:
            return kill
    return Kill.OTHER


def remedy_of(kind: str) -> Remedy:
    """Why, and the cure."""
    found = BY_KIND.get(SAME.get(kind, kind))
    return found or BY_KILL[kill_of(kind)]
