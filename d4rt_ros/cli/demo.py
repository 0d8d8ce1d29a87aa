"""`d4rt demo`: a camera and the node as processes of their own, listened to and measured as a user would."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from d4rt_ros.cli.children import Children, own_domain, quoted, ros_arguments
from d4rt_ros.cli.outputs import path, writable_folder
from d4rt_ros.paths import expanded

CAMERA_LIMIT, RESULT_LIMIT = 180.0, 60.0  # seconds until the first image, and from there to the first result
DEPTH_SIZE = (96, 128)  # of the depth grid: as fine as a CPU can
QUERY_SECONDS = 0.5  # between two requests for one point
MANY_POINTS, TIMES = 10_000, 3  # of the largest requests; afterwards, since they keep two cores from all else
RESULT = "/d4rt/depth/image", "/d4rt/depth/camera_info", "/d4rt/points"  # what a first result is
AFTER_END = 3.0  # seconds of queries after a video has ended


class DemoError(RuntimeError):
    """The demo cannot be shown; says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--video", help="a video file, a folder of images, or webcam:0 instead of the scene")
    parser.add_argument(
        "--camera-info", default="", help="of the video: 'fx fy cx cy', or a calibration file"
    )
    parser.add_argument("--rate", type=float, default=0.0, help="of the video's images; 0: what it says")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="how long to stream (default %(default)g)"
    )
    parser.add_argument(
        "--output", type=path, default=Path("demo_output"), help="folder (default %(default)s)"
    )
    parser.add_argument("--checkpoint", default="", help="weights; the embedded ones by default")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")


def run(args: argparse.Namespace) -> int:
    """Exit status: 1, and a sentence, where something does not start or no result comes."""
    from rich.console import Console

    console = Console(highlight=False)
    domain, environment = own_domain()
    try:
        writable_folder(args.output)
        with Children(args.output, environment) as children:
            recording = show(args, children, domain, console)
    except (DemoError, OSError) as error:
        console.print("[bold red]The demo failed:[/]", end=" ")
        console.print(str(error), markup=False, soft_wrap=True)
        return 1
    from d4rt_ros.cli import demo_picture, demo_report

    report = demo_report.report(recording)
    demo_report.show(report, console)
    demo_report.write(report, args.output / "report.json")
    picture = args.output / "overview.png"
    if demo_picture.draw(recording, picture):
        console.print(f"Picture: [bold]{picture}[/]   Numbers: {args.output / 'report.json'}")
    else:
        console.print("No picture: no image came with depth, cloud and tracks together.")
    return 0


def show(args: argparse.Namespace, children: Children, domain: int, console):
    """Start everything, stream, and give the Recording. Raises DemoError."""
    try:
        from d4rt_ros.ros.listening.listener import Listener
    except ImportError as error:
        raise DemoError(f"ROS 2 is not there ({error}); source one, or pip install 'd4rt_ros[ros]'") from None
    children.start("camera", *camera(args))
    children.start("node", "d4rt_ros.ros.node", node_arguments(args))
    listener = Listener(domain, truth=truth(args.video))
    try:
        with progress(console) as bar:
            start(children, listener, bar)
            if not args.video:  # of which the beginning will not come again
                listener.begin()
            stream(children, listener, bar, args.seconds)
        if children.status("camera") == 0:
            console.print(children.last_words("camera", 1).split("]: ")[-1], markup=False, soft_wrap=True)
    finally:
        listener.close()
    return listener.recording


def camera(args: argparse.Namespace) -> tuple[str, list[str]]:
    """The camera's module and its arguments; it starts when the node and we are there."""
    parameters = {"wait_for_subscribers": 2}
    module = "d4rt_ros.ros.scene_camera"
    if args.video:
        module = "d4rt_ros.ros.video_camera"
        parameters |= {"source": quoted(args.video), "rate": args.rate, "depth": bool(truth(args.video))}
        if args.camera_info:
            parameters["camera_info"] = quoted(args.camera_info)
    # Not under the name from which the node would take a sensor's depth.
    return module, ros_arguments(parameters) + ["-r", "depth:=~/truth/depth"]


def truth(video: str | None) -> str:
    """The camera node that publishes the true depth: the scene's, or that of a folder with depth images."""
    if not video:
        return "/scene_camera"
    from d4rt_ros.io.frames import SourceError, depth_file, image_files

    try:
        return "/video_camera" if Path(video).is_dir() and depth_file(image_files(video)[0]) else ""
    except SourceError:
        return ""  # the camera says why


def node_arguments(args: argparse.Namespace) -> list[str]:
    parameters = {"model.device": quoted(args.device), "depth.size": list(DEPTH_SIZE)}
    if args.checkpoint:
        parameters["model.checkpoint"] = quoted(str(expanded(args.checkpoint).resolve()))
    return ros_arguments(parameters)


def progress(console):
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
    )
    return Progress(*columns, console=console, transient=True)


def start(children: Children, listener, bar) -> None:
    """Until the first image has come, then until the first result has, then until the scene is rendered."""
    from d4rt_ros.ros.rendered_loop import LOOP_IS_CLOSED

    task = bar.add_task("starting the camera and the node", total=None, note="")
    arrivals = listener.recording.arrivals
    began, first_image = time.monotonic(), None
    limit, why, listening = began + CAMERA_LIMIT, f"no image within {CAMERA_LIMIT:g} s", False
    while not all(arrivals[topic] for topic in ("/image", *RESULT)):
        check(children, listener)
        if not listening and listener.image_subscribers():
            listener.listen_to_images()
            listening = True
        if arrivals["/image"] and first_image is None:
            first_image = time.monotonic()
            limit, why = first_image + RESULT_LIMIT, f"images, but no result within {RESULT_LIMIT:g} s"
        if children.status("camera") == 0 and limit > time.monotonic() + AFTER_END:
            limit = time.monotonic() + AFTER_END
            why = "the video ended before there was a result; is it too short?"
        if time.monotonic() > limit:
            raise DemoError("\n".join([why, *(last_words(children, name) for name in ("node", "camera"))]))
        bar.update(
            task,
            note=children.last_words("camera" if first_image is None else "node", 1).split("]: ")[-1][:60],
        )
        time.sleep(0.05)
    waited = (first_image or time.monotonic()) - began, time.monotonic() - began
    bar.console.print("first image after {:.1f} s, first result after {:.1f} s".format(*waited))
    bar.update(task, description="the scene is rendered meanwhile")
    limit = time.monotonic() + CAMERA_LIMIT
    while children.says("camera", "rendering") and not children.says("camera", LOOP_IS_CLOSED):
        check(children, listener)
        if time.monotonic() > limit:
            break  # it goes on at the pace that it has
        bar.update(
            task, note=f"{len(arrivals['/image'])} images, {len(arrivals['/d4rt/depth/image'])} results"
        )
        time.sleep(0.1)
    bar.remove_task(task)


def stream(children: Children, listener, bar, seconds: float) -> None:
    """Listen and ask now and then, for some time; less where the video ends before. Then ask for much."""
    task = bar.add_task("streaming", total=seconds, note="")
    arrivals, queries = listener.recording.arrivals, listener.recording.queries
    began = time.monotonic()
    end, due = began + seconds, began
    while (now := time.monotonic()) < end:
        check(children, listener)
        if children.status("camera") == 0:
            end = min(end, now + AFTER_END)
        if now >= due:
            due = now + QUERY_SECONDS
            listener.ask(1)
        answer = f", query {1e3 * queries[1][-1]:.0f} ms" if queries[1] else ""
        note = f"{len(arrivals['/image'])} images, {len(arrivals['/d4rt/depth/image'])} results{answer}"
        bar.update(task, completed=now - began, note=note)
        time.sleep(0.05)
    listener.end()
    bar.update(task, description=f"asking for {MANY_POINTS:,} points")
    for _ in range(TIMES):
        check(children, listener)
        listener.ask(MANY_POINTS)
    bar.remove_task(task)


def check(children: Children, listener) -> None:
    """Raises DemoError where a process has ended that should not, or the node cannot be configured.

    Leaves, too, where we were told to end: here, and not in the middle of starting a process.
    """
    if children.told_to_end:
        sys.exit(143)
    for name in ("camera", "node"):
        if children.status(name) is not None and (name, children.status(name)) != ("camera", 0):
            raise DemoError(f"the {name} ended\n{last_words(children, name)}")
    for problem in listener.recording.problems:
        if "cannot be configured" in problem:
            raise DemoError(f"the node {problem} (log: {children.log('node')})")


def last_words(children: Children, name: str) -> str:
    return f"The {name}'s last words ({children.log(name)}):\n{children.last_words(name)}"
