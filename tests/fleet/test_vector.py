"""What is averaged, and what is refused before it is averaged."""

import numpy as np
import pytest

from robolearn.errors import ConfigError
from robolearn.fleet.vector import Layout, UpdateRefused, check_update, clipped

ARRAYS = {
    "actor/0/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "log_std": np.array([7.0], np.float32),
}


def test_arrays_come_back_from_the_vector():
    layout = Layout.of(ARRAYS)
    vector = layout.flatten(ARRAYS)
    assert vector.tolist() == [0, 1, 2, 3, 4, 5, 7]
    back = layout.unflatten(vector)
    assert list(back) == list(ARRAYS)
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(back[name], value)


def test_a_prefix_names_whole_parts_of_the_vector():
    layout = Layout.of({**ARRAYS, "actor/01/bias": np.zeros(2, np.float32)})
    assert layout.mask(["actor/0"]).tolist() == [True] * 6 + [False] * 3
    assert layout.mask(["log_std", "actor/01/bias"]).tolist() == [False] * 6 + [True] * 3
    assert not layout.mask([]).any()
    with pytest.raises(
        ConfigError, match="'actor/9' names no other part of the vector, which has actor/0/kernel"
    ):
        layout.mask(["log_std", "actor/9"])


def test_another_name_shape_or_order_is_another_digest():
    digest = Layout.of(ARRAYS).digest
    assert digest == Layout.of({name: value.copy() for name, value in ARRAYS.items()}).digest
    others = (
        {"actor/0/weight": ARRAYS["actor/0/kernel"], "log_std": ARRAYS["log_std"]},
        {"actor/0/kernel": ARRAYS["actor/0/kernel"].T, "log_std": ARRAYS["log_std"]},
        dict(reversed(ARRAYS.items())),
    )
    assert all(Layout.of(other).digest != digest for other in others)


def test_a_vector_of_another_length_is_refused():
    with pytest.raises(UpdateRefused, match=r"shape \[6\], expected \[7\]"):
        Layout.of(ARRAYS).unflatten(np.zeros(6, np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_update_that_is_not_finite_is_refused(bad):
    update = np.zeros(5, np.float32)
    update[3] = bad
    with pytest.raises(UpdateRefused, match="north: 1 of 5 numbers are not finite"):
        check_update(update, 5, 1.0, "north")


def test_an_update_that_is_too_long_or_of_another_kind_is_refused():
    update = np.full(4, 1.0, np.float32)
    assert check_update(update, 4, 2.0) == 2.0
    with pytest.raises(UpdateRefused, match="norm 2, at most 1.99"):
        check_update(update, 4, 1.99)
    with pytest.raises(UpdateRefused, match="float64"):
        check_update(update.astype(np.float64), 4, 2.0)
    with pytest.raises(UpdateRefused, match=r"expected float32 of shape \[5\]"):
        check_update(update, 5, 2.0)


def test_a_huge_update_has_no_overflow_on_the_way():
    update = np.full(4, 3e38, np.float32)
    with pytest.raises(UpdateRefused, match="norm 6e"):
        check_update(update, 4, 1e9)
    assert np.linalg.norm(clipped(update, 2.0)) == pytest.approx(2.0, rel=1e-6)


def test_clipping_shortens_and_never_lengthens():
    update = np.array([3.0, 4.0], np.float32)
    np.testing.assert_array_equal(clipped(update, 5.0), update)
    np.testing.assert_allclose(clipped(update, 1.0), [0.6, 0.8], rtol=1e-6)
