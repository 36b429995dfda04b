"""The kernel: the pure core of training. Imports only the standard library; touches only its arguments."""

from functrain.kernel.backend import Backend
from functrain.kernel.epoch import epoch, evaluate, tbptt
from functrain.kernel.metrics import Monoid, Running, monoids
from functrain.kernel.plan import Plan, PlayerPlan, passed
from functrain.kernel.scale import Clip, ScaleRule, gradient_factor, next_scale
from functrain.kernel.state import Accumulator, Clock, LossScale, Player, Report, TrainState
from functrain.kernel.step import Action, Rule, Rules, accumulate, micro_step, step, update
from functrain.kernel.window import Schedule, grouped

__all__ = [
    "Accumulator", "Action", "Backend", "Clip", "Clock", "LossScale", "Monoid", "Plan", "Player", "PlayerPlan",
    "Report", "Rule", "Rules", "Running", "ScaleRule", "Schedule", "TrainState", "accumulate", "epoch", "evaluate",
    "gradient_factor", "grouped", "micro_step", "monoids", "next_scale", "passed", "step", "tbptt", "update",
]  # fmt: skip
