# make setup            the virtual environment .venv with everything in it (demo and test do it too, once)
# make demo             the scene camera and the node as separate processes; a table and a picture
# make demo VIDEO=…     the same on a video file, a folder of images or webcam:0
# make test             the tests, against the installed package
# make clean            removes .venv and build
#
# Needed: Python 3.10 to 3.14 with venv and headers, a C and a C++ compiler, make. On Debian and Ubuntu:
#   apt install python3-venv python3-dev g++ make

PYTHON ?= python3
VENV ?= .venv
# On x86-64 Linux PyPI's torch is a CUDA build and brings a few GB of CUDA libraries; elsewhere it is for the
# CPU. Another build (CPU only, another CUDA version) comes from an index that pytorch.org/get-started names:
#   make setup TORCH='torch==2.13.0 --index-url <that index>'
TORCH ?= torch==2.13.0
VIDEO ?=

BIN := $(abspath $(VENV))/bin
STAMPS := $(VENV)/.stamps
# Folders too: a file that is removed changes its folder.
SOURCES := CMakeLists.txt package.xml setup.py pyproject.toml LICENSE \
	$(shell find d4rt_ros msg srv cmake launch config scripts -not -path '*__pycache__*' 2>/dev/null)

# A ROS 2 that the shell has sourced is not the one in the virtual environment, and must not be mixed with it.
unexport AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH ROS_DISTRO ROS_VERSION ROS_PYTHON_VERSION \
	RMW_IMPLEMENTATION PYTHONPATH PYTHONHOME LD_LIBRARY_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE

.DELETE_ON_ERROR:
.PHONY: setup demo test clean

setup: $(STAMPS)/installed

# The installed package, although the demo starts in the source tree, where its output and VIDEO are.
demo: setup
	PYTHONSAFEPATH=1 $(BIN)/d4rt demo $(if $(VIDEO),--video '$(VIDEO)')

# From test/, so that nothing is imported from the source tree. What starts no node and no program of ours runs on two
# cores; the rest one test after another, since a node and its user need both.
ALONE := cli ros test_package.py test_paths.py
test: setup
	cd test && $(BIN)/pytest -n 2 --dist loadfile $(addprefix --ignore=,$(ALONE))
	cd test && $(BIN)/pytest $(ALONE)

clean:
	rm -rf $(VENV) build

# Again when a source has changed: Ninja then builds only what the change touches.
$(STAMPS)/installed: $(STAMPS)/requirements $(SOURCES)
	@echo 'd4rt_ros: building and installing into $(VENV)'
	$(BIN)/pip install --quiet --no-build-isolation '.[ros,test]'
	@touch $@

# What pyproject.toml builds with goes into the environment itself, so that the build folder can be kept.
$(STAMPS)/requirements: $(STAMPS)/venv pyproject.toml
	@echo 'd4rt_ros: installing $(TORCH) and the ROS 2 wheels, which takes a few minutes'
	$(BIN)/pip install --quiet $(TORCH)
	sed -n '/^requires = \[/,/^\]/s/^ *"\(.*\)",$$/\1/p' pyproject.toml > $(STAMPS)/build-requirements.txt
	$(BIN)/pip install --quiet -r $(STAMPS)/build-requirements.txt
	@touch $@

$(STAMPS)/venv:
	@scripts/check_machine.sh '$(PYTHON)'
	'$(PYTHON)' -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@
