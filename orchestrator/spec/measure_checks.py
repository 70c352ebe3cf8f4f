"""Measures that a spec asks for, compared with the networks that it trains."""

from collections.abc import Sequence

from illama.config import ModelConfig, UserModel
from illama.measures import OWN_BLOCKS, Request, has_attention_maps, labelled, needs_of
from orchestrator.spec.document import Document
from orchestrator.spec.schema import SweepSchema
from orchestrator.trial import Variant


def check_measures(schema: SweepSchema, document: Document, variants: Sequence[Variant]) -> None:
    """Note measures that are asked for twice, or that no network, or not every one, can have."""
    for index, request in enumerate(schema.measure):
        try:
            labelled(schema.measure[: index + 1])
        except ValueError as error:
            document.add_problem(("measure", index), str(error))
        for variant in variants:
            if reason := _why_not(request, variant):
                document.add_problem(("measure", index), f"measure {request.name} {reason}")
                break


def _why_not(request: Request, variant: Variant) -> str:
    """Say why the variant's network cannot be measured so; empty where it can."""
    if not variant.config.can.keeps_network:
        return (
            f"needs a network from the built-in training, but '{variant.label}' uses your own "
            "training: record such numbers there, or leave the measure out"
        )
    model, needs = getattr(variant.config, "model", None), needs_of(request)
    if isinstance(model, ModelConfig):
        return _why_not_ours(needs, model, variant)
    if not isinstance(model, UserModel):
        return ""
    if OWN_BLOCKS in needs:
        return (
            f"reads the blocks of built-in networks, but '{variant.label}' has {model.name}: "
            "leave the measure out"
        )
    lacking = [name for name in needs if name not in model.offers]
    if not lacking:
        return ""
    return (
        f"needs a network with the method {lacking[0]}, which {model.name} of '{variant.label}' "
        "does not have: add it there, or leave the measure out"
    )


def _why_not_ours(needs: Sequence[str], model: ModelConfig, variant: Variant) -> str:
    """Say why a built-in network cannot be measured so: a mixer by name may lack attention maps."""
    if "attention_maps" not in needs or has_attention_maps(model):
        return ""
    mixers = [getattr(mixer, "text", mixer) for mixer in model.choices("mixer")]
    return (
        f"needs attention maps in every block, which the mixer {', '.join(dict.fromkeys(mixers))} "
        f"of '{variant.label}' does not have: leave the measure out, or measure another sweep"
    )
