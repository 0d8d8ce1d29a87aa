"""The node: threads, messages and parameters around the stream pipeline, nothing else.

Images are received and prepared in the executor's threads; one worker thread owns the model, always computes
the newest window and answers the services' questions, also in the middle of a window.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # before the imports below, during which Ctrl-C must be heard already
    from d4rt_ros.ros import programs

    sys.exit(programs.node())

import os
import threading
import time
import warnings

import numpy as np
import rclpy
import rclpy.logging
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import Executor, MultiThreadedExecutor
from rclpy.lifecycle import NodeMixin, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image

from d4rt_ros.io.image_files import read_mask
from d4rt_ros.io.image_messages import BitDepth, ImageError, rgb_from_compressed
from d4rt_ros.io.transform_tree import frame_name
from d4rt_ros.ros import arguments, diagnostics, messages, parameters, process, qos, status
from d4rt_ros.ros.broadcasting import map_frame, world_frame
from d4rt_ros.ros.calibration import Calibration
from d4rt_ros.ros.images import rgb_from_any_image
from d4rt_ros.ros.inputs import Inputs
from d4rt_ros.ros.interest import region_of
from d4rt_ros.ros.large_messages import large_segment
from d4rt_ros.ros.mask_inputs import Masks
from d4rt_ros.ros.publishing import Publishers
from d4rt_ros.ros.scale_inputs import ScaleInputs, scale_settings
from d4rt_ros.ros.services import Services
from d4rt_ros.ros.status import StatusTopic
from d4rt_ros.ros.streaming import Streaming
from d4rt_ros.ros.terminal import Terminal
from d4rt_ros.ros.transforms import TransformListener
from d4rt_ros.ros.worker import PATIENCE, Worker
from d4rt_ros.stream import Frame, StampError
from d4rt_ros.stream.config import FRAMES

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
EXECUTOR_THREADS = 16


def load_model(values: dict):
    """The model that the parameters name, warmed up. Run it in the thread that will use the model."""
    import torch

    from d4rt_ros import runtime

    # One core is left to following the images, to the camera and to DDS.
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(values["model.threads"] or max(cores - 1, 1))
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
    frames = values["window.frames"] or model.num_frames or FRAMES
    if model.num_frames not in (None, frames):
        raise ValueError(
            f"window.frames is {values['window.frames']}; this model takes {model.num_frames}, so set it to 0"
        )
    # Divisible by the patch of any model: VGGT takes such a small image as it is.
    model.encode(np.zeros((frames, 56, 70, 3), np.uint8)).query(0, 0, 0, 0, 0)
    return model


class D4rtNode(NodeMixin, Node):
    """The managed node `d4rt`.

    load_model(values of the parameters) -> model, called in the worker's thread; what it raises is the
    sentence with which `configure` is refused. Other arguments are those of rclpy's Node.
    """

    def __init__(self, load_model=load_model, **kwargs) -> None:
        Node.__init__(self, "d4rt", **kwargs)
        # A group of their own in which one need not wait for another: get_state answers while the weights load.
        NodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())
        self._load_model = load_model
        self._phase, self._failure, self._destroyed = "unconfigured", "", False
        self._changing = threading.Lock()  # of the state, against parameters that are set meanwhile
        self._pending: dict = {}  # live parameters that were set while the model was being loaded
        self._worker: Worker | None = None
        self._streaming: Streaming | None = None
        self._outputs: Publishers | None = None
        self._inputs: Inputs | None = None
        self._masks: Masks | None = None
        self._mask_file: np.ndarray | None = None  # what mask.file masks
        self._calibration = Calibration()
        self._figures = diagnostics.Statistics()
        self._silent = False  # no images come, and ~/status has said so
        # After Ctrl-C nothing can be published, the log's topic neither, which is no failure.
        self._terminal = Terminal(self.get_logger(), lambda: self.context.ok() and not process.told())
        parameters.declare(self, lambda: self._phase, self._parameters_changed)
        for name, nearest in parameters.unknown(getattr(self, "_parameter_overrides", {})).items():
            meant = f", is {nearest} meant?" if nearest else ""
            self.get_logger().warning(f"there is no parameter {name}; it is ignored{meant}")
        self._transforms = TransformListener(self, MutuallyExclusiveCallbackGroup())
        Services(
            self,
            lambda: self._streaming if self._phase == "active" else None,
            self._transforms,
            self._figures,
        )
        self._create_diagnostics()
        self._status = StatusTopic(self, self._world_frame())
        self._status.becomes(status.STARTING, f"the node is {self._phase}{diagnostics.ADVICE[self._phase]}")
        self._follow = self._steady_timer(0.5, self._follow_publishers, MutuallyExclusiveCallbackGroup())
        if self.get_parameter("autostart").value:
            self._autostart = self._steady_timer(0.001, self._start, MutuallyExclusiveCallbackGroup())

    # Lifecycle. What a transition raises rclpy would swallow, and leave the node neither here nor there.

    def on_configure(self, state) -> TransitionCallbackReturn:
        self._phase, self._pending = "configuring", {}
        self._status.world = self._world_frame()
        self._status.becomes(status.STARTING, "the model is being loaded")
        worker = self._worker = Worker("d4rt model")
        try:
            values = parameters.values(self)
            if values["tf.publish"] != "none":
                self._transforms.listen()  # so that what TF says is known when the weights are loaded
            self._mask_file = read_mask(values["mask.file"]) if values["mask.file"] else None
            model = worker.ask(lambda: self._load_model(values)).result()
            outputs = self._outputs = Publishers(
                self,
                world_frame(values["frames.world"], self.get_namespace()),
                values["frames.base"],
                values["tf.publish"],
                values["path.length"],
                self._transforms,
                values["odometry.when_lost"],
                map_frame(values["frames.map"], self.get_namespace()),
                lambda: self._calibration.info,
            )
            streaming = Streaming(
                model,
                worker,
                parameters.pipeline_config(values),
                outputs,
                self._figures,
                self._status,
                self._terminal.warn,
                values["depth.rate"],
                values["query.history"],
            )
            streaming.interest.choose(region_of(values["roi"]))
        except Exception as error:
            return self._cannot_be_configured(error)
        with self._changing:
            self._streaming, self._phase, self._failure = streaming, "inactive", ""
            pending = self._pending
        self._status.becomes(status.STARTING, "the node is inactive; activate it")
        if pending:
            try:
                self._parameters_changed(pending)
            except ValueError as error:
                return self._cannot_be_configured(error)
        return NodeMixin.on_configure(self, state)

    def _cannot_be_configured(self, error: Exception) -> TransitionCallbackReturn:
        self._failure = f"cannot be configured: {error or type(error).__name__}"
        if not process.told():
            self.get_logger().error(self._failure)
            self._status.becomes(status.STOPPED, self._failure)
        self._release()
        self._phase = "unconfigured"
        return FAILURE

    def on_activate(self, state) -> TransitionCallbackReturn:
        compressed = self.get_parameter("image_transport").value == "compressed"
        reliability = self.get_parameter("image.reliability").value
        self._figures.last_image, self._bits = None, BitDepth()
        callback = self._on_compressed if compressed else self._on_image
        inputs, masks, streaming = None, None, self._streaming
        try:
            masks = Masks(self, self._mask_file)
            inputs = Inputs(
                self, compressed, reliability, callback, self._calibration.update, streaming.interest.take
            )
            streaming.scale_inputs = ScaleInputs(
                self, scale_settings(parameters.values(self)), self._transforms
            )
        except Exception as error:
            for opened in (inputs, masks):
                if opened is not None:
                    opened.close()
            self._failure = f"cannot be activated: {error or type(error).__name__}"
            self.get_logger().error(self._failure)
            self._status.becomes(status.STOPPED, self._failure)
            return FAILURE
        self._tell_of_unused_overrides(inputs)
        self._masks, self._inputs, self._phase, self._failure = masks, inputs, "active", ""
        self._status.becomes(status.STARTING, "no window has been computed yet")
        self.get_logger().info(f"active: images from {inputs.image_topic} ({inputs.image_qos})")
        return NodeMixin.on_activate(self, state)

    def on_deactivate(self, state) -> TransitionCallbackReturn:
        self._phase = "inactive"
        self._stop_listening("the node was deactivated")
        self._status.becomes(status.STOPPED, "the node is not active")
        return NodeMixin.on_deactivate(self, state)

    def on_cleanup(self, state) -> TransitionCallbackReturn:
        self.close()
        return NodeMixin.on_cleanup(self, state)

    def on_shutdown(self, state) -> TransitionCallbackReturn:
        self.close()
        self._phase = "finalized"
        return NodeMixin.on_shutdown(self, state)

    def on_error(self, state) -> TransitionCallbackReturn:
        self.get_logger().error("a transition failed; everything is let go, configure the node again")
        self.close()
        return NodeMixin.on_error(self, state)

    def close(self, patience: float = PATIENCE) -> None:
        """Let go of the inputs and the model; the node can be configured again, or destroyed.

        A window that is being computed is waited for, for `patience` seconds.
        """
        self._phase = "unconfigured"
        self._stop_listening("the node was shut down")
        self._release(patience)
        if not process.told():
            self._status.becomes(status.STOPPED, "the node is not active")

    def destroy_node(self) -> None:
        """Once a transition that is under way has ended; its model's loading is given up by `close`."""
        if self._destroyed:  # by the shutdown of its context
            return
        end = time.monotonic() + 1.0
        while self._state_machine.current_state[0] >= State.TRANSITION_STATE_CONFIGURING:
            if time.monotonic() > end:
                return  # rclpy would crash under it
            time.sleep(0.005)
        self._destroyed = True
        super().destroy_node()
        # rclpy forgets it, and it would keep the node, and its shared memory, until Python's end.
        self._state_machine.destroy_when_not_in_use()

    def _start(self) -> None:
        self._autostart.cancel()
        if self._phase == "unconfigured" and self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def _stop_listening(self, reason: str) -> None:
        inputs, self._inputs = self._inputs, None
        masks, self._masks = self._masks, None
        for opened in (inputs, masks):
            if opened is not None:
                opened.close()
        self._calibration = Calibration()
        streaming = self._streaming
        if streaming is not None:
            scale_inputs, streaming.scale_inputs = streaming.scale_inputs, None
            if scale_inputs is not None:
                scale_inputs.close()
            streaming.reset(reason, ends=True)

    def _release(self, patience: float = PATIENCE) -> None:
        with self._changing:
            worker, outputs, streaming = self._worker, self._outputs, self._streaming
            self._worker = self._streaming = self._outputs = None
        if streaming is not None:
            streaming.close()
        if worker is not None and not worker.stop(patience) and patience:
            self.get_logger().warning("the model is still computing; it is let go once it has finished")
        if outputs is not None:
            outputs.destroy()

    def _follow_publishers(self) -> None:
        inputs, masks, streaming = self._inputs, self._masks, self._streaming
        for opened in (inputs, masks):
            if opened is not None:
                opened.refresh()
        if streaming is not None and (scale_inputs := streaming.scale_inputs) is not None:
            scale_inputs.refresh()

    def _tell_of_unused_overrides(self, inputs: Inputs) -> None:
        names = inputs.name, "camera_info", "roi", "mask", *self._streaming.scale_inputs.topics
        topics = dict.fromkeys(names, "subscription")
        for name in qos.unused(self, topics):
            self.get_logger().warning(
                f"nothing is read from {name}; images come from {qos.PREFIX}{inputs.image_topic}.subscription.…, "
                f"calibration from {qos.PREFIX}{inputs.info_topic}.subscription.…"
            )

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
        streaming, inputs, masks = self._streaming, self._inputs, self._masks
        if streaming is None or not inputs or not masks or self._phase != "active":
            return
        try:
            topic, rectified = inputs.image_topic, self.get_parameter("image.rectified").value
            image, camera, lens = self._calibration.view(rgb_from(msg), topic, rectified)
            stamp, frame_id = messages.nanoseconds(msg.header.stamp), msg.header.frame_id
            masked = masks.masked(stamp, image.shape[:2], frame_id, lens)
            streaming.add(Frame(image, stamp, camera, lens, masked=masked), frame_id)
        except ImageError as error:
            self._drop("image", str(error))
        except StampError as error:
            self._drop("stamp", str(error))
        except Exception as error:
            self._drop("failure", f"{type(error).__name__}: {error}")
        self._figures.image(time.monotonic())

    def _drop(self, reason: str, sentence: str) -> None:
        self._figures.problem(f"dropped: {reason}", sentence)
        self._terminal.warn(reason, f"an image is dropped: {sentence}")

    # Parameters

    def _world_frame(self) -> str:
        return world_frame(frame_name(self.get_parameter("frames.world").value), self.get_namespace())

    def _parameters_changed(self, values: dict) -> None:
        """New values of live parameters, before rclpy has stored them."""
        with self._changing:
            streaming = self._streaming
            if streaming is None:  # the model is being loaded, or let go
                self._pending |= values
        given, values = values, parameters.values(self) | values
        config = parameters.pipeline_config(values)
        if streaming is None:
            return
        if "roi" in given:
            streaming.interest.choose(region_of(given["roi"]))
        streaming.change(
            config,
            values["path.length"],
            values["depth.rate"],
            values["odometry.when_lost"],
            values["query.history"],
        )

    # Diagnostics

    def _create_diagnostics(self) -> None:
        self._reporter = diagnostics.Reporter(self.get_fully_qualified_name().lstrip("/"), time.monotonic())
        self._world: tuple | None = None  # restarts and worlds so far
        self._reports = qos.publisher(self, DiagnosticArray, "/diagnostics")
        self._diagnose = self._steady_timer(1.0, self._report, MutuallyExclusiveCallbackGroup())

    def _report(self) -> None:
        if process.told():
            return
        header = messages.header_message(self.get_clock().now().nanoseconds, "")
        now, camera = time.monotonic(), self._calibration
        state = diagnostics.node_state(
            self._phase, self._failure, self._inputs, camera, self._streaming, now, self._masks
        )
        report, problems = self._reporter.report(header, state, self._figures, now)
        self._reports.publish(report)
        self._terminal.tell(problems, now)
        self._tell_of_silence(now)
        self._tell_of_a_new_world()

    def _tell_of_silence(self, now: float) -> None:
        """In ~/status, that a camera has stopped, and that it goes on."""
        last, inputs = self._figures.last_image, self._inputs
        if self._phase != "active" or inputs is None or last is None:
            return
        if now - last > diagnostics.SILENCE:
            self._status.becomes(status.STOPPED, f"no images come on {inputs.image_topic}")
            self._silent = True
        elif self._silent:
            self._silent = False
            stopped = lambda: self._status.state == status.STOPPED  # noqa: E731
            self._status.becomes(
                status.STARTING, "images come again; no window has been computed yet", stopped
            )

    def _tell_of_a_new_world(self) -> None:
        streaming = self._streaming
        result = streaming.result if streaming is not None else None
        if result is None or result.pose is None:
            return
        before, self._world = self._world, (streaming.epoch, result.pose.world)
        # What a restart does was said when it was made.
        if before is not None and before[0] == self._world[0] and before[1] != self._world[1]:
            self._terminal.warn(
                "world", f"a new world begins, poses do not go on from before: {result.pose.last_loss}"
            )

    def _steady_timer(self, seconds: float, callback, group):
        """A timer that also runs where the simulation's time stands still."""
        return self.create_timer(
            seconds, callback, callback_group=group, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )


def main(args=None) -> int:
    """Run the node until Ctrl-C. Returns 1 where the arguments or the parameters given at start are wrong."""
    process.prepare()
    process.on_signal(lambda: None)  # from here on there is something to clean up first
    try:
        node = _create(sys.argv if args is None else args)
    except arguments.ArgumentsError as error:
        print(f"d4rt_node: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    executor = MultiThreadedExecutor(EXECUTOR_THREADS)
    executor.add_node(node)
    # Not the whole shutdown, which would wait for callbacks: that of the base class makes `spin` return.
    process.on_signal(lambda: Executor.shutdown(executor, 0))
    process.spin(executor, node)
    node.close(patience=0 if process.told() else PATIENCE)
    executor.shutdown()  # waits for callbacks, since Jazzy
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


def _create(args: list[str]) -> D4rtNode:
    """The node, in a process whose shared memory holds its messages. Raises ArgumentsError."""
    files = arguments.check_files(args)
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        with large_segment() as room:
            node = D4rtNode()
    except ParameterException as error:
        reason = str(error).partition("Reason: ")[2].rpartition(": ")[0]  # rclpy wraps it in words of its own
        raise arguments.ArgumentsError(reason or str(error)) from None
    except (RuntimeError, ValueError) as error:  # rclpy's own for arguments that it cannot take
        raise arguments.ArgumentsError(arguments.complaint(error)) from None
    if room:
        node.get_logger().warning(room)
    try:
        arguments.check_names(files, node.get_fully_qualified_name())
    except arguments.ArgumentsError:
        node.destroy_node()
        raise
    return node
