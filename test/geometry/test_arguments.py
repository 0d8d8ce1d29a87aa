import numpy as np
import pytest

from d4rt_ros.geometry.arguments import real_array, whole_number


class OnADevice:
    def __array__(self, dtype=None, copy=None):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


@pytest.mark.parametrize(
    "values",
    [None, "text", ["a", 1], [1j], [[1, 2], [3]], {}, object(), OnADevice(), [None, 1.0], b"x", 10**400],
)
def test_what_is_no_array_of_numbers(values):
    with pytest.raises(ValueError, match="^the points .*(numbers|expected)"):
        real_array(values, "the points")


@pytest.mark.parametrize("shape", [(3,), (None,), (..., 2), (2, None), (2, 2), (None, None), (..., 2, 3), ()])
def test_another_shape(shape):
    class OfShapes(ValueError):
        pass

    fits = {(2, None), (None, None), (..., 2, 3)}
    if shape in fits:
        assert real_array(np.ones((2, 3)), "x", shape).shape == (2, 3)
    else:
        with pytest.raises(OfShapes, match=r"x has shape \(2, 3\); \(.*\) is expected"):
            real_array(np.ones((2, 3)), "x", shape, error=OfShapes)


def test_a_scalar_has_no_shape():
    assert real_array(3, "x", ()).shape == () and real_array(3, "x", (...,)).shape == ()
    with pytest.raises(ValueError, match=r"has shape \(\); \(\.\.\., 3\) is expected"):
        real_array(3, "x", (..., 3))


def test_types():
    assert real_array([1, 2], "x").dtype == np.float64
    assert real_array(np.float32([1, 2]), "x").dtype == np.float64
    for kind in (np.float32, np.int16, bool):
        values = np.ones(3, kind)
        assert real_array(values, "x", dtype=None) is values


@pytest.mark.parametrize("value", [3, np.int8(3), np.array(3), np.uint64(3)])
def test_whole_numbers(value):
    number = whole_number(value, "n", 3)
    assert number == 3 and type(number) is int


@pytest.mark.parametrize("value", [2, 3.0, True, np.True_, "3", None, [3], np.nan, np.inf, 3j, -(10**30)])
def test_what_is_no_whole_number(value):
    with pytest.raises(ValueError, match="n = .*; a whole number from 3 is expected"):
        whole_number(value, "n", 3)
