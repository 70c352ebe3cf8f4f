"""Floating-point operations of what is computed inside, by torch's own formulas."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry


class FlopCount(TorchDispatchMode):
    """Adds up the operations of every product of matrices and every convolution, as
    `FlopCounterMode` does.

    That one loads torch's compiler, which takes a second that a plan does not have, and knows
    operators of higher order, which networks of others may have and ours have not.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing that is counted is compiled, so the compiler need not be told to look away."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute `func`: in parts where it has some, else whole and by its formula."""
        keywords = kwargs or {}
        if func is not torch.ops.prim.device.default:
            with self:
                parts = func.decompose(*args, **keywords)
            if parts is not NotImplemented:
                return parts
        result = func(*args, **keywords)
        if formula := flop_registry.get(func.overloadpacket):
            self.total += formula(*args, **keywords, out_val=result)
        return result

    def get_total_flops(self) -> int:
        """Operations so far, two for each multiply-accumulate."""
        return self.total


@contextmanager
def counted(*, ours: bool) -> Iterator[FlopCount | FlopCounterMode]:
    """Count what is computed inside, of our own networks and parts or of anybody's.

    With gradients: without, torch takes shortcuts that it does not count. Nor does it count the
    fused attention of the CPU, so attention is written out: its products are counted on every
    device.
    """
    counter = FlopCount() if ours else FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        yield counter
