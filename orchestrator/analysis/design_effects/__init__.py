"""Effects of the designs beside the road, by a function for each. Another design is a line here."""

from orchestrator.analysis.design_effects.factorial import factorial_effects
from orchestrator.analysis.design_effects.lines import EffectsOf
from orchestrator.analysis.design_effects.orders import order_effects
from orchestrator.analysis.design_effects.pairs import effects_alone, effects_left_out

EFFECTS: dict[str, EffectsOf] = {
    "one_factor": effects_alone,
    "leave_one_out": effects_left_out,
    "factorial": factorial_effects,
    "orders": order_effects,
}
"""Effects of a design, by the names of `orchestrator.spec.designs.DESIGNS`."""
