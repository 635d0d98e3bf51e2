"""The pretended device refuses what CUDA refuses, passes what CUDA passes, and counts what CUDA waits for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pretended_cuda import PretendedCuda
from pretended_rules import Mismatch
from torch import Tensor

Case = Callable[[Tensor], Any]


def on_cuda(x: Tensor) -> Tensor:
    return x.to("cuda")


REFUSED: dict[str, Case] = {
    "a range made on the CPU": lambda x: x + torch.arange(4.0),
    "zeros of the CPU in cat": lambda x: torch.cat([x, torch.zeros(4)]),
    "zeros of the CPU in stack": lambda x: torch.stack([x, torch.zeros(4)]),
    "a number of the CPU in cat": lambda x: torch.stack([x.sum(), torch.tensor(1.0)]),
    "a product of matrices": lambda x: torch.zeros(4, 4) @ x,
    "gather with an index of the CPU": lambda x: x.gather(0, torch.arange(2)),
    "index_add_": lambda x: x.index_add_(0, torch.arange(2), torch.ones(2, device="cuda")),
    "a CPU tensor indexed from CUDA": lambda x: torch.arange(4.0)[torch.tensor([0], device=x.device)],
    "a CPU tensor under a mask of CUDA": lambda x: torch.arange(4)[x > 0],
    "a generator of the CPU": lambda x: torch.rand(4, device=x.device, generator=torch.Generator()),
    "a generator of CUDA for the CPU": lambda x: torch.rand(4, generator=torch.Generator(device="cuda")),
    "a generator of the CPU in place": lambda x: x.uniform_(generator=torch.Generator()),
    "numpy": lambda x: x.numpy(),
    "values of the CPU put by an index": lambda x: x.__setitem__(torch.tensor([0, 1], device=x.device), torch.ones(2)),
    "where": lambda x: torch.where(x > 0, x, torch.zeros(4)),
    "labels of the CPU": lambda x: F.cross_entropy(x[None], torch.tensor([1])),
    "a mask of the CPU as a factor": lambda x: x * torch.ones(4).bool(),
    "a layer of the CPU": lambda x: torch.nn.Linear(4, 2)(x),
    "after a round trip": lambda x: x.cpu() * torch.ones(4, device="cuda"),
    "a number of CUDA added to a CPU tensor": lambda x: torch.zeros(4).add_(x.sum()),
    "pinning CUDA memory": lambda x: x.pin_memory(),
    "a text bank of the CPU in einsum": lambda x: torch.einsum("bd,cd->bc", x[None], torch.zeros(3, 4)),
    "an embedding of the CPU": lambda x: F.embedding(torch.tensor([0], device="cuda"), torch.zeros(3, 4)),
    "scatter": lambda x: x.scatter(0, torch.tensor([0], device="cuda"), torch.ones(1)),
    "a weight of lerp": lambda x: torch.lerp(x, x, torch.zeros(4)),
    "an optimiser's momentum": lambda x: torch._foreach_add_([x], [torch.zeros(4)]),
    "autocast": lambda x: torch.autocast("cuda", torch.bfloat16)(lambda: x[None] @ torch.zeros(4, 4))(),
}
PASSED: dict[str, Case] = {
    "numbers of Python and of the CPU": lambda x: x * 2 + torch.tensor(3.0),
    "a CUDA tensor indexed from the CPU": lambda x: x[torch.tensor([0, 2])],
    "a mask": lambda x: x[x > 0.5],
    "a number set under a mask": lambda x: x.__setitem__(x > 0.5, 0.0),
    "to the CPU": lambda x: x.cpu() + torch.zeros(4),
    "as another": lambda x: torch.zeros(4).to(x) + x,
    "resizing": lambda x: F.interpolate(x.view(1, 1, 2, 2), 4, mode="bicubic") + torch.ones(1, 1, 4, 4, device="cuda"),
    "a gradient": lambda x: torch.autograd.grad((y := x.clone().requires_grad_()).square().sum(), y)[0] + x,
    "a gradient through a move": lambda x: torch.autograd.grad((y := x.clone().requires_grad_()).cpu().sum(), y)[0] + x,
    "normalise": lambda x: F.normalize(x[None]) @ x[:, None],
    "layer norm": lambda x: F.layer_norm(x[None], (4,)) + x,
    "labels": lambda x: F.cross_entropy(x[None], torch.tensor([1], device="cuda"), label_smoothing=0.1),
    "made like it": lambda x: x + x.new_zeros(4) + x.new_tensor([1.0]) + torch.zeros_like(x) + torch.rand_like(x),
    "a deep copy": lambda x: copy.deepcopy(x) + x,
    "the largest two": lambda x: x.topk(2).values.cumsum(0),
    "a module moved": lambda x: torch.nn.Linear(4, 2).to("cuda")(x),
    "a module moved by keywords": lambda x: torch.nn.Linear(4, 2).to(device="cuda", dtype=torch.float32)(x),
    "a module copied": lambda x: copy.deepcopy(torch.nn.Linear(4, 2).to("cuda"))(x),
    "numbers copied in": lambda x: x.copy_(torch.zeros(4)) + x,
    "a like of it on the CPU": lambda x: torch.zeros_like(x, device="cpu") + torch.zeros(4),
    "a generator of CUDA": lambda x: torch.rand(4, device="cuda", generator=torch.Generator(device="cuda")) + x,
}
NO_WAIT: dict[str, Case] = {
    "arithmetic": lambda x: (x * 2 + 1).sum(),
    "a number set under a mask": lambda x: x.__setitem__(x > 0.5, 0.0),
    "where": lambda x: torch.where(x > 0.5, x, 0.0),
    "values put by an index of CUDA": lambda x: x.__setitem__(torch.arange(2, device="cuda"), x[2:] + 1),
    "a range made on CUDA": lambda x: torch.arange(4, device="cuda") + x,
    "a copy from pinned memory": lambda x: torch.zeros(4).pin_memory().to("cuda", non_blocking=True) + x,
    "memory asked for as pinned": lambda x: torch.zeros(4, pin_memory=True).to("cuda", non_blocking=True) + x,
    "a copy to the host nobody waits for": lambda x: x.to("cpu", non_blocking=True),
    "repeats of a known size": lambda x: x.repeat_interleave(3),
}
ONE_WAIT: dict[str, Case] = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "bool": lambda x: bool((x > 0).any()),
    "tolist": lambda x: x.tolist(),
    "to the CPU": lambda x: x.cpu(),
    "to a device by its name": lambda x: x.to("cpu"),
    "nonzero": lambda x: x.nonzero(),
    "a mask": lambda x: x[x > 0.5],
    "values put by a mask": lambda x: x.__setitem__(x > 2, x[:0]),
    "unique": lambda x: x.unique(),
    "an index of the CPU": lambda x: x[torch.tensor([0, 2])],
    "a copy from ordinary memory": lambda x: torch.zeros(4).to("cuda", non_blocking=True),
    "a copy that is not asynchronous": lambda x: torch.zeros(4).pin_memory().to("cuda"),
    "numbers of Python": lambda x: torch.tensor([1.0], device="cuda"),
    "numbers copied in": lambda x: x.copy_(torch.zeros(4)),
    "synchronize": lambda x: torch.cuda.synchronize(),
    "equal": lambda x: torch.equal(x, x + 1),
}


def numbers() -> Tensor:
    return torch.tensor([0.1, 0.4, 0.6, 0.9])


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_it_refuses(case: Case) -> None:
    with PretendedCuda(), pytest.raises(Mismatch):
        case(on_cuda(numbers()))


@pytest.mark.parametrize("case", PASSED.values(), ids=PASSED.keys())
def test_it_passes(case: Case) -> None:
    with PretendedCuda() as cuda:
        case(on_cuda(numbers()))
    assert cuda.ops


@pytest.mark.parametrize("case", NO_WAIT.values(), ids=NO_WAIT.keys())
def test_the_host_does_not_wait_for(case: Case) -> None:
    with PretendedCuda() as cuda:
        x = on_cuda(numbers())
        cuda.reset()
        case(x)
    assert not cuda.waits


@pytest.mark.parametrize("case", ONE_WAIT.values(), ids=ONE_WAIT.keys())
def test_the_host_waits_once_for(case: Case) -> None:
    with PretendedCuda() as cuda:
        x = on_cuda(numbers())
        cuda.reset()
        case(x)
    assert cuda.waited == 1, cuda.waits


def test_a_wait_is_counted_at_the_line_that_made_it() -> None:
    with PretendedCuda() as cuda:
        x = on_cuda(numbers())
        cuda.reset()
        x.sum().item()
    ((where, what),) = cuda.waits
    assert where.startswith("pretended/test_rules.py:")
    assert what == "_local_scalar_dense"


def test_values_are_those_of_the_cpu() -> None:
    with PretendedCuda():
        answer = (on_cuda(numbers()) * 3).cpu()
    assert torch.equal(answer, numbers() * 3)


def test_outside_of_it_nothing_is_pretended() -> None:
    with PretendedCuda():
        x = on_cuda(numbers())
        assert x.device == torch.device("cuda", 0)
    assert x.device.type == "cpu"
    assert not torch.cuda.is_available()
