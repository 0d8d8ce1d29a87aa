import numpy as np
import pytest
from analytic_stream import PERIOD, AnalyticModel, frame, run, stream_of

from d4rt_ros.stream import (
    Frame,
    Outputs,
    Pipeline,
    PipelineConfig,
    StampError,
    Stream,
    WindowFrame,
    only,
    window_of,
)


class Counting(AnalyticModel):
    """Counts the windows that it encodes."""

    encoded = 0

    def encode(self, frames):
        self.encoded += 1
        return super().encode(frames)


def test_a_result_comes_where_a_window_is_due():
    stream = stream_of(AnalyticModel(), PipelineConfig(hop=3))
    assert [k for k in range(15) if stream.add(frame(k)) is not None] == [5, 8, 11, 14]
    with pytest.raises(StampError):
        stream.add(frame(14))


def test_its_window_is_the_configurations():
    window = window_of(stream_of(AnalyticModel(), PipelineConfig(stride=2, hop=3, max_gap=5.0)).pipeline)
    assert (window.frames, window.stride, window.hop, window.max_gap) == (6, 2, 3, 5.0)


def test_the_three_steps_are_what_process_does():
    whole, steps = stream_of(AnalyticModel()).pipeline, stream_of(AnalyticModel()).pipeline
    for last in range(6, 16):
        results = []
        for pipeline in (whole, steps):
            clip = [WindowFrame(frame(k)) for k in range(last - 6, last)]
            if pipeline is whole:
                results.append(pipeline.process(clip))
            else:
                seen = pipeline.track(clip)
                results.append(pipeline.place(seen, pipeline.encode(seen)))
        one, other = results
        np.testing.assert_array_equal(one.pose.world_from_camera, other.pose.world_from_camera)
        np.testing.assert_array_equal(one.points.xyz, other.points.xyz)
        np.testing.assert_array_equal(one.tracks.ids, other.tracks.ids)


@pytest.mark.parametrize("camera", ["calibrated", None])
def test_encoding_leaves_the_pipeline_as_it_is(camera):
    """Asked again and again between the steps of others, it says the same, and they too."""
    pipeline, plain = stream_of(AnalyticModel()).pipeline, stream_of(AnalyticModel()).pipeline
    kwargs = {} if camera else {"camera": None}
    proposed = []
    for last in range(6, 14):
        seen = pipeline.track([WindowFrame(frame(k, **kwargs)) for k in range(last - 6, last)])
        for earlier in (*proposed, seen):
            pipeline.encode(earlier)
        proposed.append(seen)
        result = pipeline.place(seen, pipeline.encode(seen))
        expected = plain.process([WindowFrame(frame(k, **kwargs)) for k in range(last - 6, last)])
        assert result.camera.pinhole == expected.camera.pinhole
        np.testing.assert_array_equal(result.pose.world_from_camera, expected.pose.world_from_camera)


@pytest.mark.parametrize("outputs", [Outputs(), only(points=True)], ids=["all", "cloud only"])
def test_what_shows_nothing_is_not_encoded(outputs):
    model = Counting()
    stream = stream_of(model)
    run(stream, range(8), outputs)
    before = model.encoded
    results = [
        stream.add(Frame(np.zeros((65, 97, 3), np.uint8), PERIOD * (k + 1)), outputs) for k in range(8, 12)
    ]
    assert model.encoded == before == 3
    for result in results:
        assert result.problem and result.reason == result.problem and not result.trusted
        assert result.scene is result.points is result.tracks is None
        assert result.camera.pinhole.width == 97 and result.window.stamps[-1] == result.stamp


def test_the_windows_cameras_are_those_that_were_placed():
    model = AnalyticModel()
    stream = stream_of(model)
    results = dict(run(stream, range(16)))
    assert np.isnan(results[5].window.world_from_camera[:-1]).all()
    for i, k in enumerate(range(10, 16)):
        np.testing.assert_array_equal(
            results[15].window.world_from_camera[i], results[k].pose.world_from_camera
        )
    np.testing.assert_array_equal(results[15].window.stamps, [PERIOD * (k + 1) for k in range(10, 16)])


def test_cameras_of_another_world_and_such_as_were_lost_are_not_known():
    stream = stream_of(AnalyticModel(), PipelineConfig(recover_seconds=0.0))
    run(stream, range(10))
    # Another view altogether: lost while it fills the window, then a new world.
    results = dict(run(stream, range(30, 37), stamp=None))
    first = next(result for result in results.values() if result.trusted)
    known = np.isfinite(first.window.world_from_camera).all(axis=(1, 2))
    assert first.pose.world == 1 and known.tolist() == [False] * 5 + [True]


def test_the_windows_cameras_have_the_scale_of_the_result():
    one, other = (
        run(stream_of(AnalyticModel(), PipelineConfig(metres=metres)), range(12))[-1][1]
        for metres in (0.0, 2.0)
    )
    for result in (one, other):
        np.testing.assert_allclose(result.window.world_from_camera[-1], result.pose.world_from_camera)
    plain, grown = (result.window.world_from_camera[:, :3, 3] for result in (one, other))
    np.testing.assert_allclose(grown - grown[-1], 2.0 * (plain - plain[-1]), atol=1e-9)
    assert (one.scale.source, other.scale.source, other.scale.sigma) == ("none", "fixed", 0.0)


def test_a_reset_begins_a_new_world():
    stream = stream_of(AnalyticModel())
    run(stream, range(8))
    stream.reset()
    assert run(stream, range(8, 14))[-1][1].pose.world == 1 and isinstance(stream, Stream)


def test_a_window_that_a_restart_overtook_is_no_part_of_the_new_world():
    pipeline = Pipeline(AnalyticModel(), PipelineConfig(refine="none"))
    clip = [WindowFrame(frame(k)) for k in range(6)]
    seen = pipeline.track(clip)
    proposal = pipeline.encode(seen)
    pipeline.follow(WindowFrame(frame(9), epoch=1))
    result = pipeline.place(seen, proposal)
    assert "began anew" in result.problem and result.pose is None and result.tracks is None
    later = [WindowFrame(frame(k), epoch=1) for k in range(9, 15)]
    assert pipeline.process(later).pose.world == 1


def test_no_id_is_given_twice_in_a_streams_life():
    """Not by the points that are followed either, whatever begins anew."""
    stream = Stream(Pipeline(AnalyticModel(), PipelineConfig(refine="pixels")))
    stream.speed = 0.4
    ids = run(stream, range(10))[-1][1].tracks.ids
    assert len(ids) > 20 and len(np.unique(ids)) == len(ids)
    again = run(stream, range(3, 12))  # a bag that loops
    assert again[-1][1].tracks.ids.min() > ids.max()
