"""Parameters as people write them: on the command line, in YAML, at run time, in every state."""

import threading
from array import array

import numpy as np
import pytest
import yaml

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from rclpy.exceptions import ParameterException  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from ros_testing import FlatModel, Running, set_parameter, transition  # noqa: E402

from d4rt_ros.model.protocol import NoAttentionError  # noqa: E402
from d4rt_ros.ros import parameters  # noqa: E402
from d4rt_ros.ros.node import D4rtNode  # noqa: E402
from d4rt_ros.ros.parameters import SETTINGS, plain, refusal  # noqa: E402


@pytest.mark.parametrize(
    "name, value, meant",
    [
        ("depth.rate", 0, 0.0),
        ("window.max_gap", 20, 20.0),
        ("scale.metres", 2, 2.0),
        ("image.rectified", True, "true"),
        ("image.rectified", False, "false"),
        ("dynamics.method", False, "off"),
        ("depth.size", array("q", [12, 20]), [12, 20]),
    ],
)
def test_what_yaml_makes_of_a_value_is_taken_for_what_was_meant(name, value, meant):
    assert refusal(name, value) == ""
    assert plain(name, value) == meant and type(plain(name, value)) is type(meant)


@pytest.mark.parametrize(
    "name, value, says",
    [
        ("depth.rate", "fast", "a number"),
        ("depth.rate", True, "a number"),
        ("depth.rate", float("nan"), "0 to 1000"),
        ("depth.rate", float("inf"), "0 to 1000"),
        ("depth.rate", None, "a number"),
        ("window.hop", 2.0, "a whole number"),
        ("window.hop", True, "a whole number"),
        ("autostart", 1, "true or false"),
        ("frames.base", 5, "a text"),
        ("image_transport", False, "one of raw, compressed"),
        ("image.rectified", "maybe", "one of auto, true, false"),
        ("depth.size", [36.0, 48.0], "2 whole numbers"),
        ("depth.size", ["36", "48"], "2 whole numbers"),
        ("depth.size", [True, False], "2 whole numbers"),
        ("depth.size", [], "2 numbers"),
        ("depth.size", 36, "2 whole numbers"),
        ("depth.size", "36x48", "2 whole numbers"),
        ("roi", [], "4 numbers"),
        ("roi", [0, 0, 64.0, 48], "4 whole numbers"),
        ("roi", [0, 0, 64, 0], "2x2 pixels or more; width and height 0 are the whole image"),
        ("refine", "everything", "one of pixels, none"),
        ("tracks.max", 9, "50 to 5000"),
        ("tracks.unseen", -1, "0 to 60"),
        ("dynamics.method", "optical flow", "one of motion, attention, both, off"),
        ("dynamics.method", True, "one of motion"),
        ("dynamics.release", 61, "0 to 60"),
        ("mask.file", 3, "a text"),
    ],
)
def test_another_type_is_refused_with_a_sentence(name, value, says):
    reason = refusal(name, value)
    assert reason.startswith(f"{name} is ") and says in reason


class Exported(FlatModel):
    """Nobody may hear its attention; `heard` counts who tried."""

    heard = 0

    def encode(self, frames, mask=None, listener=None):
        if listener is not None:
            self.heard += 1
            raise NoAttentionError("an exported model lets nobody hear its attention; load its checkpoint")
        return super().encode(frames)


class Open(FlatModel):
    def encode(self, frames, mask=None, listener=None):
        if listener is not None:
            listener.begin(1, 2, 3)
            listener.attention(0, None, None)
            listener.features(None)
        return super().encode(frames)


@pytest.mark.parametrize("method", ["attention", "both"])
def test_a_method_that_the_model_cannot_do_is_refused_with_what_to_do(method):
    with Running({"dynamics.method": method}, Exported()) as running:
        says = f"cannot be configured: dynamics.method is {method}, and an exported model lets nobody hear"
        assert running.user.told("geometry", says) and running.becomes("unconfigured")
        assert running.user.told("geometry", "load its checkpoint; or set dynamics.method to motion")
        assert set_parameter(running.user, "dynamics.method", "motion").successful
        assert transition(running.user, Transition.TRANSITION_CONFIGURE) and running.model.heard == 1


def test_a_method_is_changed_while_the_node_runs_if_the_model_can_do_it():
    for model, can in ((Exported(), False), (Open(), True)):
        with Running(model=model) as running:
            pipeline = running.active().node._streaming.pipeline
            answer = set_parameter(running.user, "dynamics.method", "attention")
            assert answer.successful == can and ("set dynamics.method to motion" in answer.reason) != can
            assert pipeline.config.dynamics == ("attention" if can else "motion")
            assert set_parameter(running.user, "dynamics.method", "off").successful
            assert set_parameter(running.user, "dynamics.release", 3).successful
            assert (pipeline.config.dynamics, pipeline.config.dynamics_release) == ("off", 3.0)


anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=3),
    st.lists(st.floats(), max_size=3), st.lists(st.integers(-9, 9), max_size=3), st.lists(st.text(), max_size=3),
)  # fmt: skip


@settings(max_examples=200)
@given(st.sampled_from(sorted(SETTINGS)), anything)
def test_no_value_of_any_type_raises_and_what_is_taken_has_the_settings_type(name, value):
    if refusal(name, value) == "":
        assert type(plain(name, value)) is type(SETTINGS[name].default)


def test_every_default_and_its_bounds_are_taken():
    for name, setting in SETTINGS.items():
        assert refusal(name, setting.default) == ""
        for bound in () if setting.bounds is None or setting.length else setting.bounds:
            assert refusal(name, bound) == ""


def test_whole_numbers_for_real_ones_at_start_and_at_run_time():
    with Running({"depth.rate": 5, "image.rectified": True}) as running:
        running.active()
        assert running.node._streaming._depth_rate == 5.0
        assert set_parameter(running.user, "depth.rate", 0).successful
        assert running.node._streaming._depth_rate == 0.0
        assert type(parameters.values(running.node)["depth.rate"]) is float
        assert set_parameter(running.user, "model.device", "auto").successful  # as it is
        result = set_parameter(running.user, "depth.rate", "fast")
        assert not result.successful and "must be a number" in result.reason


def test_a_parameter_cannot_be_taken_away():
    with Running() as running:
        from rcl_interfaces.msg import Parameter as Message
        from rcl_interfaces.srv import SetParameters

        request = SetParameters.Request(parameters=[Message(name="depth.rate")])
        result = running.active().user.call(SetParameters, "/d4rt/set_parameters", request).results[0]
        assert not result.successful and running.node.get_parameter("depth.rate").value == 0.0


def test_ranges_are_shown():
    with Running() as running:
        described = running.node.describe_parameter("depth.rate")
        assert described.floating_point_range[0].to_value == 1000.0
        assert running.node.describe_parameter("window.hop").integer_range[0].from_value == 1


def test_an_unknown_name_is_told_with_the_nearest_known_one(capfd):
    with Running({"depth.sise": [3, 4], "logger_levels.rcl": 10, "zzz": 1}) as running:
        running.active()
    said = capfd.readouterr().err
    assert "no parameter depth.sise; it is ignored, is depth.size meant?" in said
    assert "no parameter zzz; it is ignored\n" in said and "logger_levels" not in said


@pytest.mark.parametrize(
    "wrong", [{"depth.rate": float("nan")}, {"depth.size": [3.0, 4.0]}, {"autostart": "yes"}]
)
def test_a_wrong_one_at_start_is_refused(wrong):
    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        with pytest.raises(ParameterException, match=next(iter(wrong))):
            D4rtNode(context=context, parameter_overrides=[Parameter(n, value=v) for n, v in wrong.items()])
    finally:
        rclpy.shutdown(context=context)


def test_what_is_dumped_can_be_given_again(tmp_path):
    given_first = {"depth.rate": 4, "image.rectified": True, "qos_overrides./image.subscription.depth": 7}
    with Running(given_first) as running:
        running.active()
        dumped = {n: p.value for n, p in running.node._parameters.items()}
    plain_values = {n: list(v) if isinstance(v, (array, np.ndarray)) else v for n, v in dumped.items()}
    file = tmp_path / "dumped.yaml"
    file.write_text(yaml.safe_dump({"/d4rt": {"ros__parameters": plain_values}}))
    with Running(arguments=["--params-file", str(file)]) as running:
        running.active()
        for name in dumped.keys() - {"depth.rate", "window.stride"}:  # which Running sets besides
            assert running.node.get_parameter(name).value == dumped[name], name
        assert running.node._inputs._image.profile.depth == 7


@pytest.mark.parametrize("name, value", [("tracks.rows", 3), ("depth.size", [6, 8]), ("depth.rate", 3)])
def test_a_parameter_that_is_set_while_the_model_is_loaded_takes_effect(name, value):
    loading, go = threading.Event(), threading.Event()

    def load(values):
        loading.set()
        assert go.wait(30)
        return FlatModel()

    with Running(load_model=load) as running:
        assert running.user.until(loading.is_set)
        assert set_parameter(running.user, name, value).successful
        refused = set_parameter(running.user, "model.device", "cpu")
        assert not refused.successful and "when the node is configured" in refused.reason
        go.set()
        running.active()
        config = running.node._streaming.pipeline.config
        assert running.user.until(
            lambda: {
                "tracks.rows": config.tracks_size[0] == 3,
                "depth.size": config.depth_size == (6, 8),
            }.get(name, running.node._streaming._depth_rate == 3.0)
        )


def test_a_parameter_may_be_set_in_any_state(capfd):
    with Running({"autostart": False}) as running:
        user = running.user
        for step in (
            None,
            Transition.TRANSITION_CONFIGURE,
            Transition.TRANSITION_ACTIVATE,
            Transition.TRANSITION_DEACTIVATE,
            Transition.TRANSITION_CLEANUP,
            Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
        ):
            assert step is None or transition(user, step)
            for n, value in enumerate((0.0, 1, 2.5)):
                assert set_parameter(user, "depth.rate", value).successful
                assert set_parameter(user, "tracks.rows", 3 + n).successful
    assert "Error" not in capfd.readouterr().err
