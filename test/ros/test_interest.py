"""The region of interest that the node uses: the last one that the images have."""

import numpy as np
import pytest

pytest.importorskip("sensor_msgs.msg", reason="needs ROS 2's messages")
from sensor_msgs.msg import RegionOfInterest  # noqa: E402

from d4rt_ros.geometry import Lens, Pinhole, Region, RegionError  # noqa: E402
from d4rt_ros.ros.interest import Interest, region_from_message, region_of  # noqa: E402

HERE, THERE = Region(10, 20, 30, 15), Region(600, 400, 40, 80)
LENS = Lens(np.eye(3) * [500, 500, 1], (-0.1, 0, 0, 0), False, np.eye(3), Pinhole.centred(500, 500, 640, 480))


@pytest.fixture
def used():
    return []


@pytest.fixture
def interest(used):
    return Interest(used.append)


def message(x=0, y=0, width=0, height=0, rectify=False):
    return RegionOfInterest(x_offset=x, y_offset=y, width=width, height=height, do_rectify=rectify)


def test_what_a_message_says():
    assert region_from_message(message()) is None
    assert region_from_message(message(10, 20, 30, 15)) == Region(10, 20, 30, 15, raw=False)
    assert region_from_message(message(10, 20, 30, 15, rectify=True)) == HERE
    with pytest.raises(RegionError, match="2x2 pixels or more"):
        region_from_message(message(width=30))


def test_what_the_parameter_says():
    assert region_of([0, 0, 0, 0]) is None and region_of([10, 20, 30, 15]) == HERE


def test_before_an_image_any_is_taken_and_then_it_is_seen_whether_it_fits(interest, used):
    interest.choose(THERE)
    interest.see((240, 320), None)
    assert used == [THERE, None]
    [(_, told)] = interest.problems
    assert told.startswith(
        "the whole image is used instead of the region of interest: a region of 40x80 pixels at 600"
    )
    interest.see((480, 640), None)  # images that it does fit
    assert used[-1] == THERE and not interest.problems


def test_one_outside_the_image_is_refused_and_the_old_one_stays(interest, used):
    interest.see((240, 320), None)
    interest.choose(HERE)
    with pytest.raises(RegionError, match="not within the image of 320x240"):
        interest.choose(THERE)
    assert used[-1] == HERE and not interest.problems
    interest.take(message(600, 400, 40, 80))
    assert used[-1] == HERE
    [(_, told)] = interest.problems
    assert "is refused" in told and told.endswith("a region of 30x15 pixels at 10, 20 stays")
    interest.take(message(1, 2, 3, 4))
    assert used[-1] == Region(1, 2, 3, 4, raw=False) and not interest.problems
    interest.take(message())
    assert used[-1] is None


def test_it_is_looked_at_again_only_where_the_image_changes(interest, used):
    for _ in range(3):
        interest.see((480, 640), None)
    assert len(used) == 1
    interest.see((480, 640), LENS)  # the calibration came: the same rectangle is another of the view
    assert len(used) == 2
