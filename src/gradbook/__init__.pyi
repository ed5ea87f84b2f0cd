from gradbook import check as check
from gradbook import data as data
from gradbook.see.graph import BackwardGraph as BackwardGraph
from gradbook.see.graph import graph as graph
from gradbook.see.lines import record_lines as record_lines
from gradbook.see.memory import MemoryReport as MemoryReport
from gradbook.see.memory import MemoryRow as MemoryRow
from gradbook.see.memory import saved_memory as saved_memory
from gradbook.see.modules import record_modules as record_modules
from gradbook.see.nodes import Edge as Edge
from gradbook.see.nodes import Node as Node
from gradbook.see.nodes import SavedTensor as SavedTensor
from gradbook.see.replay import Replay as Replay
from gradbook.see.replay import replay as replay
from gradbook.see.steps import Accumulated as Accumulated
from gradbook.see.steps import Step as Step
from gradbook.see.values import Operand as Operand
from gradbook.see.values import Value as Value
from gradbook.train.accumulate import GradientAccumulator as GradientAccumulator
from gradbook.train.checkpoint import Checkpoint as Checkpoint
from gradbook.train.checkpoint import load_checkpoint as load_checkpoint
from gradbook.train.checkpoint import save_checkpoint as save_checkpoint
from gradbook.train.history import Epoch as Epoch
from gradbook.train.history import History as History
from gradbook.train.loop import evaluate as evaluate
from gradbook.train.loop import fit as fit
from gradbook.train.seeding import seed_everything as seed_everything
from gradbook.understand.compare import GradientEntry as GradientEntry
from gradbook.understand.compare import GradientReport as GradientReport
from gradbook.understand.compare import compare_gradients as compare_gradients
from gradbook.understand.expect import expect_error as expect_error
from gradbook.understand.explain import explain as explain
from gradbook.understand.explanation import Explanation as Explanation
from gradbook.understand.notes import install as install
from gradbook.understand.notes import load_ipython_extension as load_ipython_extension
from gradbook.understand.notes import uninstall as uninstall
from gradbook.understand.notes import unload_ipython_extension as unload_ipython_extension

__version__: str

__all__ = [
    "Accumulated",
    "BackwardGraph",
    "Checkpoint",
    "Edge",
    "Epoch",
    "Explanation",
    "GradientAccumulator",
    "GradientEntry",
    "GradientReport",
    "History",
    "MemoryReport",
    "MemoryRow",
    "Node",
    "Operand",
    "Replay",
    "SavedTensor",
    "Step",
    "Value",
    "check",
    "compare_gradients",
    "data",
    "evaluate",
    "expect_error",
    "explain",
    "fit",
    "graph",
    "install",
    "load_checkpoint",
    "load_ipython_extension",
    "record_lines",
    "record_modules",
    "replay",
    "save_checkpoint",
    "saved_memory",
    "seed_everything",
    "uninstall",
    "unload_ipython_extension",
]
