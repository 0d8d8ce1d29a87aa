"""`pip install .`: the wheel holds what CMake installs, from the same CMakeLists.txt that colcon builds.

In a ROS 2 workspace colcon uses package.xml and CMakeLists.txt and never reads this file.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from xml.etree import ElementTree

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

SOURCE = Path(__file__).resolve().parent
PROGRAMS = {
    "d4rt": "d4rt_ros.cli.main:main",
    "d4rt_node": "d4rt_ros.ros.programs:node",
    "d4rt_scene_camera": "d4rt_ros.ros.programs:scene_camera",
    "d4rt_video_camera": "d4rt_ros.ros.programs:video_camera",
}
TOOLS = ["rich", "matplotlib"]
TRAIN = [*TOOLS, "rosbags", "tfrecord", "tensorboard"]
# A program of lib/d4rt_ros (where `ros2 run` and launch files look) calls its namesake of bin/, whose first
# line names the right Python; that line cannot be written here: a wheel does not know its place.
LIB_PROGRAM = '#!/bin/sh\nexec "$(dirname "$0")/../../bin/{name}" "$@"\n'

# A ROS 2 that is sourced says where the ament index is, and its say stands; the wheels do not, so this does.
AMENT_PREFIX_PTH = 'import os, sys; os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)\n'


def ros_prefix() -> Path:
    """The prefix of the ROS 2 that this Python imports: the wheels of the build environment or the venv."""
    spec = importlib.util.find_spec("rosidl_adapter")
    if spec is None:
        raise SystemExit(
            "the ROS wheels that build the interfaces are missing: let pip build in isolation (without "
            "--no-build-isolation), or install what pyproject.toml lists under [build-system] first"
        )
    prefix = Path(spec.origin).resolve().parents[4]
    for other in filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)):
        if (Path(other) / "share/rclpy").is_dir() and not Path(other).samefile(prefix):
            raise SystemExit(
                f"a ROS 2 is sourced ({other}), and would be mixed with the ROS wheels of {prefix}: "
                "build with `colcon build` for the sourced one, or call pip in a shell without it"
            )
    return prefix


def cmake(*arguments: str, environment: dict) -> None:
    # The wheel's CMake, even where its bin folder is not on PATH.
    command = [sys.executable, "-m", "cmake"] if importlib.util.find_spec("cmake") else ["cmake"]
    if subprocess.run([*command, *arguments], env=environment).returncode:
        raise SystemExit(
            "CMake could not build the interfaces (its messages are above); it needs a C and a C++ compiler "
            "and Python's headers: apt install g++ python3-dev"
        )


def build_and_stage(build: Path, stage: Path) -> None:
    """Build with CMake in `build` and install into `stage`, which holds nothing else afterwards."""
    prefix = ros_prefix()
    if prefix != Path(sys.prefix).resolve():
        shutil.rmtree(build, ignore_errors=True)  # pip's isolated environment is another one each time
    shutil.rmtree(stage, ignore_errors=True)
    libraries = [prefix / "lib", *prefix.glob("lib/python3*/site-packages/ros_*.libs")]
    environment = dict(
        os.environ,
        AMENT_PREFIX_PATH=str(prefix),
        CMAKE_PREFIX_PATH=str(prefix),
        LD_LIBRARY_PATH=os.pathsep.join(map(str, libraries)),
    )
    cmake(
        *("-S", str(SOURCE), "-B", str(build), "-G", "Ninja"),
        f"-DCMAKE_INSTALL_PREFIX={stage}",
        f"-DPython3_EXECUTABLE={sys.executable}",
        "-DCMAKE_BUILD_TYPE=Release",
        "-DBUILD_TESTING=OFF",
        environment=environment,
    )
    cmake("--build", str(build), environment=environment)
    cmake("--install", str(build), environment=environment)
    for name in PROGRAMS:
        program = stage / "lib/d4rt_ros" / name
        program.write_text(LIB_PROGRAM.format(name=name))
        program.chmod(0o755)


class BuildWithCMake(build_py):
    """Fills the wheel: site-packages from the staged ones, its data (share, lib, include) from the rest."""

    def run(self) -> None:
        base = SOURCE / "build" / f"pip-{sys.implementation.cache_tag}"
        build, stage = base / "cmake", base / "stage"
        build_and_stage(build, stage)
        # One project's metadata: pip's own; the generator's .egg-info would be a second.
        packages = Path(sysconfig.get_path("purelib", "posix_prefix", {"base": str(stage)}))
        shutil.rmtree(self.build_lib, ignore_errors=True)
        unwanted = shutil.ignore_patterns("*.egg-info", "*.c", "__pycache__")
        shutil.copytree(packages, self.build_lib, ignore=unwanted)
        shutil.rmtree(packages.parent)
        Path(self.build_lib, "d4rt_ros_ament_prefix.pth").write_text(AMENT_PREFIX_PTH)
        self.distribution.data_files = [
            (str(folder.relative_to(stage)), [str(f) for f in sorted(folder.iterdir()) if f.is_file()])
            for folder in sorted(p for p in stage.rglob("*") if p.is_dir())
            if any(f.is_file() for f in folder.iterdir())
        ]


class BinaryDistribution(Distribution):
    """The interfaces' type support is compiled: the wheel is for one Python and one platform."""

    def has_ext_modules(self) -> bool:
        return True


package = ElementTree.parse(SOURCE / "package.xml").getroot()

setup(
    name=package.findtext("name"),
    version=package.findtext("version"),
    description=" ".join(package.findtext("description").split()),
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=["d4rt_ros"],
    cmdclass={"build_py": BuildWithCMake},
    distclass=BinaryDistribution,
    entry_points={"console_scripts": [f"{name} = {function}" for name, function in PROGRAMS.items()]},
    install_requires=[
        "numpy>=1.22",
        "scipy>=1.8",
        # The OpenCV that needs no GUI libraries. A robot's cv_bridge never meets it: with a ROS 2 from apt
        # the package is built by colcon, and rosdep brings that distribution's own OpenCV (package.xml).
        "opencv-python-headless>=4.5",
        # What moves: k-means and multi-Otsu thresholds of VGGT4D's cues, connected bodies.
        "scikit-learn>=1.0",
        "scikit-image>=0.19",
        # VGGT's images are resized as it was trained: Pillow's antialiased bicubic, to the last bit.
        "pillow>=9",
        # Before 2.6 weights_only, which keeps a checkpoint from running code, could be got round.
        "torch>=2.6",
        "safetensors>=0.4",
        "pyyaml",
    ],
    # Licences: what is required is BSD, MIT or Apache-2.0 (OpenCV's wheel holds FFmpeg, LGPL-2.1); the extras too, but
    # for evo in [eval] and [test] (GPL-3), crc32c under tfrecord in [train] (LGPL-2.1), hypothesis in [test] (MPL-2.0).
    extras_require={
        # ROS 2 Kilted, the release that pyproject.toml builds with. cv_bridge, sensor_msgs_py and
        # tf_transformations are not on PyPI: they are used where a distribution brings them (package.xml).
        "ros": [
            "ros-rclpy[fastrtps]~=9.1.2",
            "ros-sensor-msgs~=5.5.1",
            "ros-geometry-msgs~=5.5.1",
            "ros-nav-msgs~=5.5.1",
            "ros-std-srvs~=5.5.1",
            "ros-diagnostic-msgs~=5.5.1",
            "ros-visualization-msgs~=5.5.1",
        ],
        # The command `d4rt`: tables, progress, pictures. The node does without.
        "tools": TOOLS,
        # `d4rt evaluate` of a camera's path: evo, under the GPL-3, so nothing else here needs it.
        "eval": [*TOOLS, "evo"],
        # `d4rt export`, and running what it wrote: one of the two, they are the same module.
        "gpu": ["onnxruntime-gpu", "onnx"],
        "onnx": ["onnxruntime", "onnx"],
        # Photographs on scenes, bags and Kubric to learn from, `d4rt train --tensorboard`.
        "train": TRAIN,
        "test": ["pytest>=7", "pytest-xdist>=3", "hypothesis>=6", "onnxruntime", "onnx", "evo", *TRAIN],
    },
)
