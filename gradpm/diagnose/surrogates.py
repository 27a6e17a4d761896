"""For each op without a useful derivative: what people use in its place."""

from __future__ import annotations

SOFT_ARGMAX = (
    "use a soft argmax, (softmax(x / temperature, dim) * positions).sum(dim), or train on the "
    "scores themselves with a loss such as cross_entropy"
)
SIGMOID = (
    "replace the hard decision by torch.sigmoid((x - threshold) / temperature), or use the "
    "straight-through form hard + soft - soft.detach()"
)
GUMBEL = (
    "use F.gumbel_softmax(logits, hard=True) for a differentiable choice, or the score-function "
    "estimator: -log_prob(sample) * reward"
)
CAST = "keep the value floating-point up to the loss; cast only what is logged or used as an index"
BINS = "use soft bins: softmax of the negative squared distance to each bin centre"

SURROGATES: dict[str, str] = {
    **dict.fromkeys(("argmax", "argmin"), SOFT_ARGMAX),
    **dict.fromkeys(
        ("argsort", "sort", "topk", "kthvalue", "msort"),
        "use the sorted values, which keep their graph, or a soft sort / soft top-k; indices have "
        "no derivative",
    ),
    **dict.fromkeys(
        (
            "gt lt ge le eq ne __gt__ __lt__ __ge__ __le__ __eq__ __ne__ greater less "
            "greater_equal less_equal not_equal isclose logical_and logical_or logical_not "
            "logical_xor __and__ __or__ __invert__ heaviside"
        ).split(),
        SIGMOID,
    ),
    **dict.fromkeys(("multinomial", "bernoulli", "sample", "randint"), GUMBEL),
    **dict.fromkeys(
        "long int bool byte short to type char int_repr".split(),
        CAST,
    ),
    **dict.fromkeys(
        ("bucketize", "searchsorted", "histc", "histogram", "bincount", "histogramdd"), BINS
    ),
    "one_hot": (
        "use softmax(scores) in its place, or the straight-through form "
        "one_hot + probs - probs.detach()"
    ),
    **dict.fromkeys(
        ("floor_divide", "__floordiv__", "__rfloordiv__"),
        "divide without rounding: `/` keeps the graph",
    ),
    **dict.fromkeys(
        ("nonzero", "where", "unique", "unique_consecutive", "count_nonzero"),
        "weight by a soft mask instead of selecting: "
        "multiply by torch.sigmoid((x - t) / temperature)",
    ),
    **dict.fromkeys(
        ("linspace", "logspace"),
        "build it from the tensor: start + (end - start) * torch.linspace(0, 1, n)",
    ),
    "sign": "use tanh(x / temperature), or straight-through: x.sign() + x - x.detach()",
}


def surrogate(name: str) -> str:
    """The usual differentiable substitute for an op, by torch's name for it."""
    found = SURROGATES.get(name) or SURROGATES.get(name.rstrip("_"))
    return found or (
        f"replace `{name}` by a differentiable form, or keep it out of the path from the "
        "parameters to the loss"
    )
