import sys
from pathlib import Path

# For analytic_scene, which the tests of tasks and of the stream share, and for analytic_stream.
sys.path.extend([str(Path(__file__).parents[1] / "tasks"), str(Path(__file__).parent)])
