"""The cost of a forward is counted without a hook on other modules, because a trial may run beside."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules import module

from zsr_core.trial.cost import forward_cost


class Watching(nn.Module):
    """One matrix product; notes how many hooks there are on all modules of the process."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3 * 4 * 4, 5, bias=False, device="meta")
        self.hooks = -1

    def forward(self, x: Tensor) -> Tensor:
        self.hooks = len(module._global_forward_pre_hooks) + len(module._global_forward_hooks)
        embedding: Tensor = self.inner(x.flatten(1))
        return embedding


def test_it_is_two_operations_a_weight_and_no_other_module_is_hooked() -> None:
    visual = Watching()
    gflop, width = forward_cost(visual, 4)
    assert gflop == 2 * 48 * 5 / 1e9
    assert width == 5
    assert visual.hooks == 0
