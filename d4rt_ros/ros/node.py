"""The node: threads, messages and parameters around the stream pipeline, nothing else.

Images are received and prepared in the executor's threads; one worker thread owns the model, always computes
the newest window and answers the services' questions, also in the middle of a window.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings

import rclpy
import rclpy.logging
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import MultiThreadedExecutor
from rclpy.lifecycle import Node, TransitionCallbackReturn
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from d4rt_ros.io.image_messages import BitDepth, ImageError, rgb_from_compressed
from d4rt_ros.ros import diagnostics, messages, parameters, process, qos
from d4rt_ros.ros.calibration import Calibration
from d4rt_ros.ros.images import rgb_from_any_image
from d4rt_ros.ros.publishing import Publishers
from d4rt_ros.ros.services import Services
from d4rt_ros.ros.streaming import Streaming
from d4rt_ros.ros.transforms import TransformListener
from d4rt_ros.ros.worker import Worker
from d4rt_ros.stream import Frame, StampError

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
EXECUTOR_THREADS = 16
QUIET = 5.0  # seconds between two warnings of one kind
UNNAMED_CAMERA = "camera"  # for images without a frame_id, which TF would refuse


def load_model(values: dict):
    """The model that the parameters name, warmed up. Run it in the thread that will use the model."""
    import numpy as np
    import torch

    from d4rt_ros import runtime

    # Of more than two cores one is left to the camera and to DDS.
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(values["model.threads"] or max(min(cores, 2), cores - 1))
    logger = rclpy.logging.get_logger("d4rt")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)  # also when it is configured a second time
        model = runtime.load(
            values["model.checkpoint"] or None,
            values["model.device"],
            values["model.precision"],
            values["model.backend"],
            values["model.patch_source"],
            progress=lambda share: logger.info(
                f"reading the weights: {share:.0%}", throttle_duration_sec=2.0, skip_first=True
            ),
        )
    for warning in told:
        logger.warning(str(warning.message))
    if values["window.frames"] not in (0, model.num_frames):
        raise ValueError(
            f"window.frames is {values['window.frames']}; this model takes {model.num_frames}, so set it to 0"
        )
    model.encode(np.zeros((model.num_frames, 48, 64, 3), np.uint8)).query(0, 0, 0, 0, 0)
    return model


class D4rtNode(Node):
    """The managed node `d4rt`.

    load_model(values of the parameters) -> model, called in the worker's thread; what it raises is the
    sentence with which `configure` is refused. Other arguments are those of rclpy's Node.
    """

    def __init__(self, load_model=load_model, **kwargs) -> None:
        super().__init__("d4rt", **kwargs)
        self._load_model = load_model
        self._phase, self._failure = "unconfigured", ""
        self._worker: Worker | None = None
        self._streaming: Streaming | None = None
        self._outputs: Publishers | None = None
        self._inputs: list = []
        self._calibration = Calibration()
        self._figures = diagnostics.Statistics()
        self._warned: dict[str, float] = {}
        parameters.declare(self, lambda: self._phase != "unconfigured", self._parameters_changed)
        for name in parameters.unknown(getattr(self, "_parameter_overrides", {})):
            self.get_logger().warning(f"there is no parameter {name}; it is ignored")
        self._transforms = TransformListener(self, MutuallyExclusiveCallbackGroup())
        Services(
            self,
            lambda: self._streaming if self._phase == "active" else None,
            self._transforms,
            self._figures,
        )
        self._create_diagnostics()
        if self.get_parameter("autostart").value:
            self._autostart = self._steady_timer(0.001, self._start, None)

    # Lifecycle

    def on_configure(self, state) -> TransitionCallbackReturn:
        values = parameters.values(self)
        values["frames.world"] = values["frames.world"] or "world"
        self._worker = Worker("d4rt model")
        try:
            model = self._worker.ask(lambda: self._load_model(values)).result()
            if values["tf.publish"] == "world_to_base":
                self._transforms.listen()
            self._outputs = Publishers(
                self,
                values["frames.world"],
                values["frames.base"],
                values["tf.publish"],
                values["path.length"],
                self._transforms,
            )
            self._streaming = Streaming(
                model,
                self._worker,
                parameters.pipeline_config(values),
                self._outputs,
                values["frames.world"],
                self._figures,
                self._warn,
                values["depth.rate"],
            )
        except Exception as error:
            self._failure = f"cannot be configured: {error or type(error).__name__}"
            self.get_logger().error(self._failure)
            self._release()
            return FAILURE
        self._phase, self._failure = "inactive", ""
        return super().on_configure(state)

    def on_activate(self, state) -> TransitionCallbackReturn:
        compressed = self.get_parameter("image_transport").value == "compressed"
        group = MutuallyExclusiveCallbackGroup()
        self._figures.last_image = None
        self._bits = BitDepth()
        self._inputs = [
            self.create_subscription(
                kind,
                topic,
                callback,
                qos.SENSOR,
                callback_group=group,
                qos_overriding_options=qos.overridable(),
            )
            for kind, topic, callback in (
                (CameraInfo, "camera_info", self._calibration.update),
                (CompressedImage, "image/compressed", self._on_compressed)
                if compressed
                else (Image, "image", self._on_image),
            )
        ]
        self._phase = "active"
        self.get_logger().info(f"active: images from {self._inputs[1].topic_name}")
        return super().on_activate(state)

    def on_deactivate(self, state) -> TransitionCallbackReturn:
        self._stop_listening()
        self._phase = "inactive"
        return super().on_deactivate(state)

    def on_cleanup(self, state) -> TransitionCallbackReturn:
        self.close()
        return super().on_cleanup(state)

    def on_shutdown(self, state) -> TransitionCallbackReturn:
        self.close()
        self._phase = "finalized"
        return super().on_shutdown(state)

    def on_error(self, state) -> TransitionCallbackReturn:
        self.close()
        return super().on_error(state)

    def close(self) -> None:
        """Let go of the inputs and the model; the node can be configured again, or destroyed."""
        self._stop_listening()
        self._release()
        self._phase = "unconfigured"

    def _start(self) -> None:
        self._autostart.cancel()
        if self._phase == "unconfigured" and self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def _stop_listening(self) -> None:
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs, self._calibration = [], Calibration()
        if self._streaming is not None:
            self._streaming.reset("the node was deactivated")

    def _release(self) -> None:
        if self._worker is not None:
            self._worker.stop()
        if self._outputs is not None:
            self._outputs.destroy()
        self._worker = self._streaming = self._outputs = None

    # Images

    def _on_image(self, msg: Image) -> None:
        self._receive(msg, lambda msg: rgb_from_any_image(msg, self._bits))
        self._tell_bits()

    def _on_compressed(self, msg: CompressedImage) -> None:
        self._receive(msg, lambda msg: rgb_from_compressed(msg, self._bits))
        self._tell_bits()

    def _tell_bits(self) -> None:
        if note := self._bits.take_note():
            self.get_logger().info(note)

    def _receive(self, msg, rgb_from) -> None:
        streaming = self._streaming
        if streaming is None or self._phase != "active":
            return
        try:
            image = rgb_from(msg)
            camera = self._calibration.camera(image.shape[1], image.shape[0])
            streaming.add(
                Frame(image, messages.nanoseconds(msg.header.stamp), camera),
                msg.header.frame_id or UNNAMED_CAMERA,
            )
        except ImageError as error:
            self._drop("image", str(error))
        except StampError as error:
            self._drop("stamp", str(error))
        except Exception as error:
            self._drop("failure", f"{type(error).__name__}: {error}")
        self._figures.image(time.monotonic())

    def _drop(self, reason: str, sentence: str) -> None:
        self._figures.problem(f"dropped: {reason}", sentence)
        self._warn(reason, f"an image is dropped: {sentence}")

    # Parameters

    def _parameters_changed(self, values: dict) -> None:
        """New values of live parameters, before rclpy has stored them."""
        values = parameters.values(self) | values
        config = parameters.pipeline_config(values)
        self._streaming.change(
            {"stride": config.stride, "hop": config.hop},
            {n: getattr(config, n) for n in ("depth_size", "tracks_size", "pose_method")},
            values["path.length"],
            values["depth.rate"],
        )

    # Diagnostics

    def _create_diagnostics(self) -> None:
        self._reporter = diagnostics.Reporter(self.get_fully_qualified_name().lstrip("/"), time.monotonic())
        self._reports = qos.publisher(self, DiagnosticArray, "/diagnostics")
        self._diagnose = self._steady_timer(1.0, self._report, MutuallyExclusiveCallbackGroup())

    def _report(self) -> None:
        now = self.get_clock().now().nanoseconds
        report = self._reporter.report(
            messages.header_message(now, ""), self._node_state(), self._figures, time.monotonic()
        )
        self._reports.publish(report)

    def _node_state(self) -> diagnostics.NodeState:
        streaming, inputs = self._streaming, self._inputs
        result = streaming.result if streaming is not None else None
        window = streaming.pipeline.window if streaming is not None else None
        posed = result is not None and result.world_from_camera is not None
        return diagnostics.NodeState(
            state=self._phase,
            failure=self._failure,
            image_topic=inputs[1].topic_name if inputs else "image",
            info_topic=inputs[0].topic_name if inputs else "camera_info",
            info_problem=self._calibration.problem,
            calibrated=result is not None and result.calibrated,
            window_fill=f"{len(window)} of {window.frames}" if window is not None else "",
            restart_reason=window.restart_reason if window is not None else "",
            trust=result.trust if posed else None,
            inliers=result.step.inliers if posed and result.step is not None else None,
            device=str(getattr(streaming.pipeline.model, "device", "")) if streaming is not None else "",
            depth_queries=streaming.depth_queries if streaming is not None else None,
        )

    def _warn(self, kind: str, sentence: str) -> None:
        now = time.monotonic()
        # After Ctrl-C nothing can be published, which is no failure.
        if now - self._warned.get(kind, -QUIET) >= QUIET and self.context.ok():
            self._warned[kind] = now
            self.get_logger().warning(sentence)

    def _steady_timer(self, seconds: float, callback, group):
        """A timer that also runs where the simulation's time stands still."""
        return self.create_timer(
            seconds, callback, callback_group=group, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )


def main(args=None) -> int:
    """Run the node until Ctrl-C. Returns 1 where the parameters given at start are wrong."""
    process.prepare()
    rclpy.init(args=args)
    try:
        node = D4rtNode()
    except ParameterException as error:
        reason = str(error).partition("Reason: ")[2].rpartition(": ")[0]  # rclpy wraps it in words of its own
        print(f"d4rt_node: {reason or error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    executor = MultiThreadedExecutor(EXECUTOR_THREADS)
    executor.add_node(node)
    try:
        process.spin(executor, node)
    finally:
        # ros2 launch sends a second one besides the terminal's; it must not break into the cleaning up.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        node.close()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
