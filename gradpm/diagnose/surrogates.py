"""For each op without a useful derivative: what people use in its place."""

from __future__ import annotations

SOFT_ARGMAX = (
    "use a soft argmax, (torch.softmax({x} / temperature, dim) * positions).sum(dim), or train on "
    "the scores themselves with a loss such as cross_entropy"
)
SIGMOID = (
    "replace the hard decision by torch.sigmoid(({x}) / temperature), or use the "
    "straight-through form hard + soft - soft.detach()"
)
GUMBEL = (
    "use F.gumbel_softmax(logits, hard=True) for a differentiable choice, or the score-function "
    "estimator: -log_prob(sample) * reward"
)
CAST = "keep the value floating-point up to the loss; cast only what is logged or used as an index"
BINS = "use soft bins: softmax of the negative squared distance to each bin centre"

UNWRITTEN = (
    "torch has no derivative for it: compute it from ops that have one, or wrap it in a "
    "torch.autograd.Function whose backward you write yourself"
)

SURROGATES: dict[str, str] = {
    **dict.fromkeys(("argmax", "argmin", "max", "min", "mode", "median"), SOFT_ARGMAX),
    **dict.fromkeys(
        ("argsort", "sort", "topk", "kthvalue", "msort", "argpartition"),
        "use the sorted values, which keep their graph, or a soft sort / soft top-k; indices have "
        "no derivative",
    ),
    **dict.fromkeys(
        (
            "gt lt ge le eq ne __gt__ __lt__ __ge__ __le__ __eq__ __ne__ greater less "
            "greater_equal less_equal not_equal isclose logical_and logical_or logical_not "
            "logical_xor __and__ __or__ __xor__ __rand__ __ror__ __invert__ bitwise_and bitwise_or "
            "bitwise_xor bitwise_not heaviside signbit isposinf isneginf"
        ).split(),
        SIGMOID,
    ),
    **dict.fromkeys(("multinomial", "bernoulli", "sample", "randint"), GUMBEL),
    **dict.fromkeys(
        "long int bool byte short to type type_as char view".split(),
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
        (
            "nonzero nonzero_static argwhere where unique unique_dim unique_consecutive "
            "count_nonzero"
        ).split(),
        "weight by a soft mask instead of selecting: "
        "multiply by torch.sigmoid((x - t) / temperature)",
    ),
    **dict.fromkeys(
        ("linspace", "logspace"),
        "build it from the tensor: start + (end - start) * torch.linspace(0, 1, n)",
    ),
    **dict.fromkeys(
        (
            "max min median nanmedian mode cummax cummin aminmax max_pool1d_with_indices "
            "max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool1d_with_indices "
            "adaptive_max_pool2d_with_indices adaptive_max_pool3d_with_indices "
            "fractional_max_pool2d_with_indices fractional_max_pool3d_with_indices"
        ).split(),
        "use the values that it returns, which keep their graph, not the indices; else "
        + SOFT_ARGMAX,
    ),
    "all": "multiply soft decisions instead: torch.sigmoid(...).prod(dim)",
    "any": "join soft decisions instead: 1 - (1 - torch.sigmoid(...)).prod(dim)",
    "isin": (
        "measure how near it is instead: torch.exp(-(x[..., None] - values) ** 2 / temperature)"
    ),
    **dict.fromkeys(
        ("isnan", "isinf", "isfinite", "isreal"),
        "keep the value itself on the path (torch.nan_to_num and torch.where have a derivative) "
        "and use the test only to choose",
    ),
    "linalg_matrix_rank": "use the nuclear norm in its place: torch.linalg.svdvals(x).sum(-1)",
    "frexp": "use the mantissa, which keeps its graph, or torch.log2(x.abs()) for the exponent",
    **dict.fromkeys(
        "quantize_per_tensor quantize_per_channel quantize_per_tensor_dynamic int_repr".split(),
        "use torch.fake_quantize_per_tensor_affine while training: it rounds forward and lets the "
        "gradient through",
    ),
    "sign": "use tanh(x / temperature), or straight-through: x.sign() + x - x.detach()",
}


def surrogate(name: str, given: str = "") -> str:
    """The usual differentiable substitute for an op, by torch's name for it.

    `given` is what the user's line applies it to: the scores, or the difference compared.
    """
    found = SURROGATES.get(name) or SURROGATES.get(name.rstrip("_"))
    if name.startswith("special_"):
        found = found or UNWRITTEN
    if found:
        return found.replace("{x}", given or ("x - threshold" if found is SIGMOID else "x"))
    return (
        f"replace `{name}` by a differentiable form, or keep it out of the path from the "
        "parameters to the loss"
    )
