import sys
from pathlib import Path

# For analytic_scene, which the tests of tasks and of the stream share.
sys.path.append(str(Path(__file__).parent))
