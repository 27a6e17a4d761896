"""The tables of torch's function names are complete, by torch's own account of its ops."""

from __future__ import annotations

import pytest
import torch

from gradpm.diagnose.op_names import SWITCHES, TEMPLATED, VIEWS, is_mutating, target_of, views_of
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.surrogates import surrogate

# Alias of its input in the schema, yet the input itself or a copy: no new view to follow.
ITSELF_OR_A_COPY = {"to", "cpu", "cuda", "pin_memory"}
# Found by running every op of torch's operator database on float32 inputs that require grad:
# these gave a result without history.
NO_DERIVATIVE = """
    all any argmax argmin argsort argwhere bucketize count_nonzero eq floor_divide frexp ge greater
    greater_equal gt histc histogram histogramdd isclose isfinite isin isinf isnan isneginf isposinf
    isreal le less less_equal linalg_matrix_rank linspace logical_and logical_not logical_or
    logical_xor logspace lt max median min mode multinomial nanmedian ne nonzero nonzero_static
    not_equal one_hot searchsorted signbit topk unique unique_consecutive cummax cummin kthvalue
    quantize_per_tensor max_pool2d_with_indices special_airy_ai special_bessel_j0
    special_chebyshev_polynomial_t special_modified_bessel_k0 special_scaled_modified_bessel_k1
""".split()


def schemas(write: bool) -> set[str]:
    """Public ops whose result shares memory with an argument, which they write to or do not."""
    found = set()
    for schema in torch._C._jit_get_all_schemas():
        shared = [result.alias_info for result in schema.returns if result.alias_info]
        name = schema.name.removeprefix("aten::")
        if shared and schema.name != name and any(alias.is_write for alias in shared) == write:
            found.add(name)
    return {name for name in found if hasattr(torch.Tensor, name) and not name.startswith("_")}


def test_every_view_of_torch_is_known_as_one() -> None:
    known = VIEWS | {name.removesuffix(".__get__") for name in VIEWS}
    assert schemas(write=False) - known - {"slice_inverse"} == ITSELF_OR_A_COPY


def test_every_op_in_place_is_known_as_one_and_no_other() -> None:
    in_place = {name for name in schemas(write=True) if name.endswith("_")}
    assert len(in_place) > 150
    assert {name for name in in_place if not is_mutating(name)} == {"requires_grad_"}
    for name in ("__iadd__", "__imatmul__", "__setitem__", "data.__set__", "_foreach_add_"):
        assert is_mutating(name)
    for name in ("__int__", "__index__", "__invert__", "__iter__", "add", "relu", *SWITCHES):
        assert not is_mutating(name)


@pytest.mark.parametrize("name", NO_DERIVATIVE)
def test_an_op_without_a_derivative_has_a_surrogate(name: str) -> None:
    assert not surrogate(name).startswith("replace `")


def row(name: str, ins: tuple[int, ...], outs: tuple[int, ...]) -> OpRow:
    return OpRow(0, 0, name, 0, 0, 0, 0, 0, ins, outs, (), ())


def test_each_of_several_views_belongs_to_its_own_base() -> None:
    assert views_of(row("broadcast_tensors", (1, 2), (3, 4))) == [(1, 3), (2, 4)]
    assert views_of(row("unbind", (1,), (2, 3))) == [(1, 2), (1, 3)]
    assert views_of(row("atleast_1d", (1, 2), (1, 3))) == [(2, 3)]
    assert views_of(row("__getitem__", (1, 2), (3,))) == []
    assert views_of(row("add", (1, 2), (3,))) == []


@pytest.mark.parametrize("name", sorted(TEMPLATED))
def test_what_only_gives_its_shape_or_type_is_not_written_into(name: str) -> None:
    assert target_of(row(name, (1, 2), (1,))) == 0
