"""Abilities and costs of a part of the network: found out once, when settings are read.

A module says what it can do by attributes, all of them optional:

- `masks`: the attention masks that it obeys, of `bidirectional`, `causal`, `modified_causal`. A
  mixer without it is taken to obey none; every other part works under all of them.
- `mask_forms`: `multiplicative` and `additive`, or one of them.
- `class_tokens`: where a class token may stand, of `first`, `last`, `none`.
- `needs_grid`: the patches must come row by row.
- `rotates`: a mixer turns queries and keys by the rotary position. False where it does not, so that
  one is refused.
- `needs_all_tokens`: a feed-forward that looks at other tokens, and so is given all of them in the
  last block, too.
- `adds`: tensors of a mixer that attention lacks; weights of a network without them will do for
  `train.init`.
- `auxiliary_loss()`: a number to add to the training loss; `no_weight_decay()`: names of parameters
  that do not decay.

A part under a mask is tried with random numbers: where the output of a token moves with a later
token, it is refused.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from illama.config.imports import UserCodeError, blaming
from illama.config.networks import QUICKLY, WITHOUT_MEMORY
from illama.config.parts import Part, make_part
from illama.parts.place import ALL, Place, Where
from illama.randomness import generators_kept

if TYPE_CHECKING:
    from torch import Tensor, nn

    from illama.masks import Mask

MASKS = ("bidirectional", "causal", "modified_causal")
_FORMS = ("multiplicative", "additive")
_CLASS_TOKENS = ("first", "last", "none")
_IMAGES = 2
_FEW_NUMBERS = 2**15
_SAME = 1e-4
"""Relative difference of outputs that are equal but for rounding."""


class Measured(NamedTuple):
    """Findings about a part in one place."""

    params: int
    macs: int
    masks: tuple[str, ...]
    mask_forms: tuple[str, ...]
    class_tokens: tuple[str, ...]
    needs_grid: bool
    rotates: bool


def measured(kind: str, part: Part, place: Place) -> Measured:
    """Make the part once and see what it is. Raises `UserCodeError` where it does not do what its
    kind must.
    """
    described = part.model_dump_json(exclude={"params", "macs"})
    return _measured(kind, described, place)


@cache
def _measured(kind: str, described: str, place: Place) -> Measured:
    import torch

    part = Part.model_validate(json.loads(described))
    quickly = part.is_ours and place.tokens * place.dim <= _FEW_NUMBERS
    device = QUICKLY if quickly else WITHOUT_MEMORY
    try:
        with torch.device(device), blaming(part.function), generators_kept(seed=0):
            return _on_device(kind, part, place)
    except UserCodeError:
        # many a part cannot be made without numbers; what is wrong with it shows with them too
        with blaming(part.function), generators_kept(seed=0):
            return _on_device(kind, part, place)


def _on_device(kind: str, part: Part, place: Place) -> Measured:
    from illama.flop_count import counted

    module = make_part(part, place).eval()
    with counted(ours=part.is_ours) as counter:
        for shape, wanted in _called(kind, module, place):
            if shape != wanted:
                raise UserCodeError(f"{part.function} returned {shape}; expected {wanted}")
    obeyed = ("bidirectional",) if kind == "mixer" else MASKS
    return Measured(
        params=sum(parameter.numel() for parameter in module.parameters()),
        macs=counter.get_total_flops() // (2 * _IMAGES),
        masks=tuple(getattr(module, "masks", obeyed)),
        mask_forms=tuple(getattr(module, "mask_forms", _FORMS)),
        class_tokens=tuple(getattr(module, "class_tokens", _CLASS_TOKENS)),
        needs_grid=bool(getattr(module, "needs_grid", False)),
        rotates=bool(getattr(module, "rotates", True)),
    )


def _called(kind: str, module: "nn.Module", place: Place) -> Iterator[tuple[Any, Any]]:
    """Shapes that the part returns, each with the shape that it should have."""
    import torch

    tokens = place.tokens - (place.registers if kind == "position" else 0)
    x = torch.zeros(_IMAGES, tokens, place.dim)
    same = tuple(x.shape)
    if kind in ("mixer", "feed_forward"):
        yield _shape(module(x, Where(ALL, None, _mask_in(kind, module, place)))), same
    elif kind == "readout":
        yield _shape(module(x[:, getattr(module, "rows", ALL)])), (_IMAGES, place.classes)
    else:
        yield _shape(module(x)), same
    if kind == "position" and hasattr(module, "rotation"):
        turned: Any = module.rotation()  # type: ignore[operator]
        if turned is not None:
            yield _shape(turned), (place.tokens, place.dim // place.heads // 2, 2)


def _mask_in(kind: str, module: "nn.Module", place: Place) -> "Mask | None":
    """The mask of the place, under which a part may compute more; None of a mixer that does not
    obey it, which is told later.
    """
    from illama.masks import Mask

    obeyed = getattr(module, "masks", ("bidirectional",) if kind == "mixer" else MASKS)
    if place.attention == "bidirectional" or place.attention not in obeyed:
        return None
    return Mask(place.attention, place.mask_form, place.tokens)


def _shape(found: Any) -> Any:
    return tuple(found.shape) if hasattr(found, "shape") else type(found).__name__


def leak(kind: str, part: Part, place: Place) -> str | None:
    """Say how the part sees what the mask hides, or answers otherwise when it is asked for few
    tokens; None where it does neither.

    A mask is tried in its additive form: in the multiplicative one the softmax's denominator sees
    every token by definition.
    """
    if kind not in ("mixer", "feed_forward", "norm"):
        return None
    return _leak(kind, part.model_dump_json(exclude={"params", "macs"}), place)


@cache
def _leak(kind: str, described: str, place: Place) -> str | None:
    import torch

    part = Part.model_validate(json.loads(described))
    with blaming(part.function), generators_kept(seed=1), torch.no_grad():
        module = make_part(part, place).eval()
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # a gate of zeros would hide a leak
        x = torch.randn(_IMAGES, place.tokens, place.dim)
        whole = _answer(kind, module, place, x)
        if kind == "mixer" and place.tokens > 1:
            last = _answer(kind, module, place, x, slice(-1, None))
            if not torch.allclose(last, whole[:, -1:], rtol=_SAME, atol=_SAME):
                return (
                    "asked for only the last token (where.rows), it gives a different answer "
                    "than for all"
                )
        if place.attention == "bidirectional":
            return None
        return _moved(kind, module, place, x, whole)


def _moved(
    kind: str, module: "nn.Module", place: Place, x: "Tensor", whole: "Tensor"
) -> str | None:
    """The first token found whose output moves with a later one."""
    import torch

    first = 1 if place.attention == "modified_causal" else 0  # a row that may see all
    last = place.tokens - 1
    for later in sorted({last, last - 1, place.tokens // 2} - {-1, 0}, reverse=True):
        other = x.clone()
        other[:, later] = torch.randn(_IMAGES, place.dim)
        change = (_answer(kind, module, place, other) - whole).abs().amax((0, 2))  # (N,)
        moved = (change[first:later] > _SAME * whole.abs().max()).nonzero()
        if len(moved):
            token = int(moved[0]) + first
            return (
                f"its output at token {token} depends on token {later}, which attention "
                f"{place.attention} hides from it"
            )
    return None


def _answer(
    kind: str, module: "nn.Module", place: Place, x: "Tensor", rows: slice = ALL
) -> "Tensor":
    import torch

    from illama.masks import Mask

    if kind == "norm":
        normed: Tensor = module(x)
        return normed
    mask = None
    if place.attention != "bidirectional":
        mask = Mask(place.attention, "additive", place.tokens)
    width = place.dim // place.heads
    angles = torch.outer(torch.arange(place.tokens), torch.arange(1, width // 2 + 1) / width)
    rotation = None if width % 2 else torch.stack((angles.cos(), angles.sin()), dim=-1)
    answer: Tensor = module(x, Where(rows, rotation, mask))
    return answer
