"""Regions of interest, of the image as it came and of its rectified view."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from d4rt_ros.geometry import Area, Lens, Pinhole, Region, RegionError, area_of

CAMERA = Pinhole(260.0, 250.0, 162.0, 118.0, 320, 240)
MATRIX = np.array([[280.0, 0, 150], [0, 270, 125], [0, 0, 1]])
LENS = Lens(MATRIX, (-0.28, 0.07, 1e-3, -5e-4), False, np.eye(3), CAMERA)
SIZE = 240, 320


@st.composite
def regions(draw):
    x, y = draw(st.integers(0, 310)), draw(st.integers(0, 230))
    return Region(x, y, draw(st.integers(2, 320 - x)), draw(st.integers(2, 240 - y)))


def test_without_a_region_it_is_the_whole_view():
    area = area_of(None, SIZE, LENS)
    assert (area.x, area.y, area.width, area.height, area.mask) == (0, 0, 320, 240, None)
    assert area.filled(SIZE).all() and area.camera(CAMERA) == CAMERA


@pytest.mark.parametrize(
    "region, lens", [(Region(30, 20, 100, 50), None), (Region(30, 20, 100, 50, raw=False), LENS)]
)
def test_a_rectangle_of_the_view_is_itself(region, lens):
    area = area_of(region, SIZE, lens)
    assert (area.x, area.y, area.width, area.height, area.mask) == (30, 20, 100, 50, None)
    filled = area.filled(SIZE)
    assert filled.sum() == 5000 and filled[20:70, 30:130].all()


@settings(max_examples=40)
@given(regions(), st.randoms(use_true_random=False))
def test_a_raw_rectangle_is_where_its_pixels_are_in_the_view(region, random):
    assume(region.width > 20 and region.height > 20)  # of a corner the view may show nothing
    area = area_of(region, SIZE, LENS)
    filled = area.filled(SIZE)
    # Raw pixels well inside and well outside, brought into the view.
    raw = np.array([[random.uniform(0, 319), random.uniform(0, 239)] for _ in range(50)])
    seen = LENS.to_view(raw)
    first, last = (
        np.array([region.x, region.y]),
        np.array([region.x + region.width, region.y + region.height]) - 1,
    )
    inside = ((raw > first + 1) & (raw < last - 1)).all(1)
    outside = ((raw < first - 2) | (raw > last + 2)).any(1)
    in_view = ((seen > 0) & (seen < [319, 239])).all(1)
    assert area.contains(seen)[inside & in_view].all()
    assert not area.contains(seen)[outside].any()
    # The rectangle is the smallest around it.
    rows, columns = np.nonzero(filled)
    assert (rows.min(), columns.min()) == (area.y, area.x)
    assert (rows.max() + 1, columns.max() + 1) == (area.y + area.height, area.x + area.width)


@given(regions(), st.floats(0.1, 9), st.floats(-1, 1), st.floats(-1, 1))
def test_the_rectangles_camera_sees_what_the_whole_view_sees_there(region, z, x, y):
    area = area_of(region, SIZE)
    point = np.array([x * z, y * z, z])
    pixel = CAMERA.project(point)
    np.testing.assert_allclose(area.camera(CAMERA).project(point), pixel - [area.x, area.y], atol=1e-9)


def test_what_a_region_contains_reaches_half_a_pixel_beyond_its_centres():
    area = Area(10, 20, 4, 3)
    pixels = np.array([[9.5, 19.5], [13.5, 22.5], [9.4, 20], [13.6, 20], [10, 22.6], [np.nan, 21]])
    assert area.contains(pixels).tolist() == [True, True, False, False, False, False]
    assert area.contains(pixels.reshape(2, 3, 2)).shape == (2, 3)


@pytest.mark.parametrize(
    "region",
    [Region(310, 0, 11, 10), Region(0, 230, 10, 11), Region(400, 400, 10, 10), Region(0, 0, 321, 2)],
)
@pytest.mark.parametrize("lens", [None, LENS])
def test_a_region_that_is_not_within_the_image_is_refused(region, lens):
    with pytest.raises(RegionError, match="is not within the image of 320x240"):
        area_of(region, SIZE, lens)


@pytest.mark.parametrize(
    "numbers, says",
    [
        ((0, 0, 1, 5), "2x2 pixels or more"),
        ((0, 0, 5, 0), "2x2 pixels or more"),
        ((-1, 0, 5, 5), "begin within the image"),
        ((0, 0.5, 5, 5), "a region's y = 0.5; a whole number is expected"),
        ((0, None, 5, 5), "a whole number"),
    ],
)
def test_what_is_no_rectangle_is_refused(numbers, says):
    with pytest.raises(RegionError, match=says):
        Region(*numbers)


def test_of_what_the_view_leaves_out_there_is_nothing():
    """A narrow view through a wide lens."""
    lens = Lens(
        LENS.matrix, LENS.distortion, False, np.eye(3), Pinhole(1500.0, 1500.0, 160.0, 120.0, 320, 240)
    )
    with pytest.raises(RegionError, match="the rectified view shows nothing of it"):
        area_of(Region(0, 0, 20, 20), SIZE, lens)
