"""What goes wrong at a singular op, and the standard cure, by torch's name for the op."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cure:
    """One op: what makes its value bad, what makes its derivative bad, how to mend it."""

    value: str
    derivative: str
    fix: str


LOG = Cure(
    "the logarithm of 0 is -inf, and that of a negative number NaN",
    "the derivative of log(x) is 1 / x, infinite at 0",
    "take the logarithm of x.clamp(min=1e-12), or use log1p, xlogy, or log_softmax",
)
ROOT = Cure(
    "the square root of a negative number is NaN",
    "the derivative of sqrt(x) is 1 / (2 sqrt(x)), infinite at 0",
    "put an epsilon inside the root: torch.sqrt(x + 1e-12); for a variance clamp it at 0 first",
)
POWER = Cure(
    "0 to a negative power is inf, and a negative number to a fractional power NaN",
    "the derivative of x ** p is infinite at 0 for p below 1, and that by p is log(x) * x ** p",
    "raise x.clamp(min=1e-6) to the power",
)
DIVISION = Cure(
    "division by zero gives inf, and 0 / 0 NaN",
    "the derivative of a / b by b is -a / b ** 2, infinite at b = 0",
    "keep the divisor away from 0: x / d.clamp(min=1e-8), or x / (d + eps)",
)
ARC = Cure(
    "outside [-1, 1] it is NaN, and rounding puts a cosine there",
    "its derivative is -1 / sqrt(1 - x ** 2), infinite at -1 and 1; a clamp(-1, 1) before it "
    "does not help, since clamp passes the gradient at its bounds",
    "clamp strictly inside: x.clamp(-1 + 1e-6, 1 - 1e-6), or use atan2 of sine and cosine",
)
EXPONENTIAL = Cure(
    "above 88 (float32) the exponential overflows to inf",
    "its derivative is its own value",
    "bound what goes in, x.clamp(max=30), or scale it down; in place of a sum of exponentials use "
    "softmax or logsumexp, which subtract the maximum first",
)
SOFTMAX = Cure(
    "over a row that is -inf throughout, the softmax is 0 / 0 = NaN",
    "of a row that is -inf throughout, it is NaN",
    "leave at least one position unmasked in each row, or zero such rows with torch.where on the "
    "mask",
)
SPREAD = Cure(
    "over a single number the unbiased deviation is 0 / 0 = NaN",
    "it is infinite where the deviation is 0",
    "pass correction=0, or skip batches of one",
)
MEAN = Cure(
    "the mean of no numbers is 0 / 0 = NaN",
    "there is nothing to pass it to",
    "skip the step when the selection is empty, or divide the sum by count.clamp(min=1)",
)
EIGEN = Cure(
    "the matrix holds numbers that are not finite",
    "the derivative of eigenvectors divides by the gaps between eigenvalues, 0 for repeated ones",
    "use eigenvalues only, or add a small distinct diagonal to the matrix",
)
XLOGY = Cure(
    "y is 0 where x is not",
    "the derivative of x * log(y) is log(y) by x and x / y by y, infinite at y = 0",
    "use torch.special.entr, or clamp y at a small number",
)
HYPOT = Cure(
    "it overflows",
    "the derivative of hypot(x, y) is x / hypot, 0 / 0 at the origin",
    "use torch.sqrt(x * x + y * y + eps)",
)
NOTHING = Cure(
    "they lie outside the range where it is defined",
    "its derivative is not finite there",
    "keep its inputs inside the range where the op and its derivative are finite",
)
MULTIPLYING = Cure(
    "the product or sum is larger than the type can hold",
    "it overflows",
    "lower the learning rate, clip the gradients, or scale the inputs",
)

CURES: dict[str, Cure] = {
    **dict.fromkeys("log log2 log10 log1p logit digamma lgamma".split(), LOG),
    **dict.fromkeys("sqrt rsqrt".split(), ROOT),
    **dict.fromkeys("pow __pow__ __rpow__ float_power".split(), POWER),
    **dict.fromkeys(
        "div true_divide divide __truediv__ __rtruediv__ __rdiv__ __div__ reciprocal "
        "__itruediv__ div_".split(),
        DIVISION,
    ),
    **dict.fromkeys("acos arccos asin arcsin acosh arccosh atanh arctanh erfinv".split(), ARC),
    **dict.fromkeys("exp exp_ expm1 exp2 sinh cosh".split(), EXPONENTIAL),
    **dict.fromkeys("softmax log_softmax logsumexp logaddexp multi_head_attention_forward "
                    "scaled_dot_product_attention".split(), SOFTMAX),
    **dict.fromkeys("std var std_mean var_mean".split(), SPREAD),
    **dict.fromkeys("mean nanmean mse_loss l1_loss cross_entropy nll_loss huber_loss "
                    "smooth_l1_loss binary_cross_entropy_with_logits".split(), MEAN),
    **dict.fromkeys("eigh eig svd linalg_eigh linalg_eig linalg_svd pinv inverse".split(), EIGEN),
    **dict.fromkeys("xlogy xlog1py special_xlogy".split(), XLOGY),
    "hypot": HYPOT,
    **dict.fromkeys(
        "mul __mul__ __rmul__ matmul __matmul__ mm bmm linear conv2d conv1d add __add__ sum square "
        "addmm einsum prod cumprod".split(),
        MULTIPLYING,
    ),
}  # fmt: skip


def cure_of(name: str) -> Cure:
    """The cure for an op."""
    return CURES.get(name) or CURES.get(name.rstrip("_")) or NOTHING


def is_risky(name: str) -> bool:
    """Whether an op can make a bad number of finite ones by its nature, not by size alone."""
    return cure_of(name) not in (NOTHING, MULTIPLYING, MEAN)
