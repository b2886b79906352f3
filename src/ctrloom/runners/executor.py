"""`python -m ctrloom.runners.executor kfp.dsl.executor_main ...`: KFP's executor, which signals can stop.

Signals reach a component from its first moment on, before KFP and torch are loaded.
"""

import runpy
import sys

from ctrloom import interruption

if __name__ == "__main__":
    with interruption.stoppable("a retry of this step continues from its checkpoints, if it has any"):
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
