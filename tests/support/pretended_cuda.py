"""A CUDA device that is not there: tensors lie on the CPU, and each storage carries the device that it claims.

Two modes of torch's own do it. A ``TorchFunctionMode`` answers ``.device``, ``.to``, factories and generators as they
would be answered with CUDA. A ``TorchDispatchMode`` sees every aten op, those of autograd included, and holds it to
CUDA's rules. Values are real, so control flow that depends on data runs as it is.

    with PretendedCuda() as cuda:
        step(...)  # with device="cuda" anywhere below
    cuda.waits, cuda.copies, cuda.ops
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from pretended_rules import CPU, CUDA, Mismatch, first_tensor, ruling, tensors_in, traits, waits
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

UNKNOWN = "unknown"  # made by torch itself inside of an op: it joins the device of the first op that it meets
Counts = Counter[tuple[str, str]]  # (file:line, what)
SUPPORT = __file__.rpartition("/")[0]


def device_of(x: Tensor) -> torch.device | None:
    """Return the device that ``x`` claims; None where nothing says so yet."""
    if x.is_meta:
        return None
    claim = getattr(x.untyped_storage(), "claim", CPU)
    return None if claim is UNKNOWN else claim


def claim(x: Tensor, device: Any) -> None:
    """Let the storage of ``x``, and so every view of it, claim a device."""
    if not x.is_meta:
        x.untyped_storage().claim = device


def is_pinned(x: Tensor) -> bool:
    return getattr(x.untyped_storage(), "pinned", False)


def site() -> str:
    """Return the innermost line that is neither torch's nor of this folder."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if "site-packages" not in name and "<" not in name and "/lib/python3" not in name and SUPPORT not in name:
            return f"{'/'.join(name.split('/')[-2:])}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"


class Generator(torch.Generator):
    """A CPU generator that claims a device; it draws the CPU's numbers."""

    def __new__(cls, device: Any = "cpu") -> Any:
        self = super().__new__(cls)
        self.claimed = on(device)
        return self

    @property
    def device(self) -> Any:
        return self.claimed


def on(device: Any) -> Any:
    """Return a device as the pretended machine has it: one card, number 0."""
    device = torch.device(device)
    return CUDA if device.type == "cuda" else device


class PretendedCuda:
    """The device: entered, it is there, and counts what is done on it.

    ``waits`` are reads of the host and copies that it must wait for, ``copies`` all transfers, by the line that made
    them; ``ops`` are ops that launch kernels, by name. With ``strict`` off, mismatches are noted in ``errors``.
    """

    def __init__(self, *, strict: bool = True) -> None:
        self.strict = strict
        self.errors: list[str] = []
        self.waits: Counts = Counter()
        self.copies: Counts = Counter()
        self.ops: Counter[str] = Counter()
        self.here = threading.local()

    @property
    def waited(self) -> int:
        """How often the host has waited."""
        return sum(self.waits.values())

    def reset(self) -> None:
        self.waits, self.copies, self.ops = Counter(), Counter(), Counter()

    def __enter__(self) -> PretendedCuda:
        self.stack = ExitStack()
        cuda, accelerator = torch.cuda, torch.accelerator
        real_autocast = torch.autocast

        class Autocast(real_autocast):  # type: ignore[valid-type,misc]
            def __init__(inner, device_type: str, *args: Any, **kwargs: Any) -> None:
                super().__init__("cpu", *args, **kwargs)

        def synchronize(*_: Any) -> None:
            self.wait("synchronize")

        real_groups = torch._C._group_tensors_by_device_and_dtype

        def groups(*args: Any) -> Any:
            found = real_groups(*args)
            return {(device_of(lists[0][0]), dtype): (lists, at) for (_, dtype), (lists, at) in found.items()}

        replaced = [
            (torch._C, "_group_tensors_by_device_and_dtype", groups), (torch, "Generator", Generator),
            (torch, "autocast", Autocast), (cuda, "synchronize", synchronize),
            (cuda, "set_device", lambda *_: self._enter_thread()),
            (accelerator, "set_device_index", lambda *_: self._enter_thread()),  # the thread that pins memory calls it
        ]  # fmt: skip
        answers: dict[tuple[Any, str], Any] = {
            (cuda, "is_available"): True, (cuda, "device_count"): 1, (cuda, "current_device"): 0,
            (cuda, "get_device_name"): "pretended", (cuda, "reset_peak_memory_stats"): None,
            (cuda, "max_memory_allocated"): 1, (cuda, "max_memory_reserved"): 1, (cuda, "memory_allocated"): 0,
            (cuda, "is_current_stream_capturing"): False, (cuda, "get_device_capability"): (9, 0),
            (accelerator, "is_available"): True, (accelerator, "current_accelerator"): torch.device("cuda"),
            (accelerator, "current_device_index"): 0,
            (accelerator, "current_stream"): SimpleNamespace(is_capturing=lambda: False),
        }  # fmt: skip
        replaced += [(where, name, lambda *_, value=value, **__: value) for (where, name), value in answers.items()]
        for where, name, value in replaced:
            self.stack.enter_context(mock.patch.object(where, name, value))
        self.stack.enter_context(_Functions(self))
        self.stack.enter_context(_Ops(self))
        self.here.entered = True
        return self

    def __exit__(self, *error: Any) -> None:
        self.here.entered = False
        self.stack.close()

    def _enter_thread(self) -> None:
        """Let the thread that chooses the card see it: torch's modes are a thread's own."""
        if not getattr(self.here, "entered", False):
            self.here.entered = True
            _Functions(self).__enter__()
            _Ops(self).__enter__()

    def wrong(self, what: str) -> None:
        said = f"{site()}: {what}"
        self.errors.append(said)
        if self.strict:
            raise Mismatch(said)

    def wait(self, what: str) -> None:
        self.waits[site(), what] += 1

    def copy(self, source: Tensor, target: Any, *, non_blocking: bool = False) -> None:
        """Note a transfer. The host waits for it unless it is asynchronous and its memory on the host is pinned."""
        way = "to the host" if target == CPU else "to the device"
        self.copies[site(), way] += 1
        if not non_blocking or (target != CPU and not is_pinned(source)):
            self.wait(f"copy {way}")


@contextmanager
def unseen() -> Iterator[None]:
    """Let the block run on the CPU as if no device were pretended, because a model is built before it is moved."""
    with torch._C.DisableTorchFunction(), _disable_current_modes():
        yield


class _Functions(TorchFunctionMode):
    """What Python asks of tensors and of torch."""

    def __init__(self, cuda: PretendedCuda) -> None:
        super().__init__()
        self.cuda = cuda

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        answer = ANSWERS.get(func)
        if answer is not None:
            return answer(self.cuda, func, args, kwargs)
        source = first_tensor(args)
        self._check_generator(kwargs.get("generator"), source, kwargs)
        if source is None or "device" in kwargs or func is torch.Tensor.new_tensor:
            return self._made(func, args, kwargs, source)
        return func(*args, **kwargs)

    def _check_generator(self, generator: Any, source: Any, kwargs: Any) -> None:
        if generator is None:
            return
        own = CPU if source is None else device_of(source)
        device = on(kwargs["device"]) if kwargs.get("device") is not None else own
        if device is not None and on(generator.device) != device:
            self.cuda.wrong(f"a generator on {generator.device} for a tensor on {device}")

    def _made(self, func: Any, args: Any, kwargs: Any, source: Tensor | None) -> Any:
        """Make a new tensor where it was asked for: on ``device``, else beside ``source``, else on the CPU."""
        given = kwargs.pop("device", None)
        if given is not None and on(given).type == "meta":
            return func(*args, device=given, **kwargs)
        pinned = kwargs.pop("pin_memory", False)
        default = CPU if source is None else device_of(source)
        device = on(given) if given is not None else default
        if source is not None and func in (torch.tensor, torch.as_tensor, torch.asarray):
            return _moved(self.cuda, source, device, **kwargs)
        before = getattr(self.cuda.here, "making", None)
        self.cuda.here.making = device
        try:
            out = func(*args, **kwargs)
        finally:
            self.cuda.here.making = before
        for x in tensors_in(out):
            if source is None or x.untyped_storage() is not source.untyped_storage():
                claim(x, device)
                x.untyped_storage().pinned = bool(pinned)
                if device == CUDA and func in FROM_HOST:
                    self.cuda.copy(x, CUDA)
        return out


FROM_HOST = {torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor}


class _Move(torch.autograd.Function):
    """A copy between devices, whose gradient goes the other way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cuda: PretendedCuda, target: Any, non_blocking: bool) -> Tensor:
        ctx.cuda, ctx.source = cuda, device_of(x)
        return _copied(cuda, x, target, non_blocking)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return _copied(ctx.cuda, grad, ctx.source, False), None, None, None


def _copied(cuda: PretendedCuda, x: Tensor, target: Any, non_blocking: bool) -> Tensor:
    out = x.clone()
    claim(out, target)
    cuda.copy(x, target, non_blocking=non_blocking)
    return out


def _moved(cuda: PretendedCuda, x: Tensor, target: Any, *, non_blocking: bool = False, **kwargs: Any) -> Tensor:
    x = x.to(**kwargs) if kwargs else x
    if x.device.type == "meta" or target is None or target == device_of(x):
        return x
    if target.type == "meta":
        return x.to(target)
    moved: Tensor = _Move.apply(x, cuda, target, non_blocking)
    return moved


def _to(cuda: PretendedCuda, func: Any, args: Any, kwargs: Any) -> Any:
    """``Tensor.to`` in all its forms: a device, a dtype, another tensor, ``non_blocking``, ``copy``."""
    x, *rest = args
    rest = [kwargs.pop(name) for name in ("other", "device", "dtype") if kwargs.get(name) is not None] + rest
    target, dtype = device_of(x), None
    flags = [value for value in rest if isinstance(value, bool)]
    for value in rest:
        if isinstance(value, Tensor):
            target, dtype = device_of(value), value.dtype
        elif isinstance(value, torch.dtype):
            dtype = value
        elif isinstance(value, (torch.device, str, int)) and not isinstance(value, bool):
            target = on(value)
    non_blocking = kwargs.pop("non_blocking", flags[0] if flags else False)
    kwargs = {name: value for name, value in kwargs.items() if value is not None}
    given = {**kwargs, **({} if dtype is None else {"dtype": dtype})}
    return _moved(cuda, x, target, non_blocking=non_blocking, **given)


def _read(cuda: PretendedCuda, func: Any, args: Any, kwargs: Any) -> Any:
    if device_of(args[0]) == CUDA:
        if func is not torch.Tensor.tolist:
            cuda.wrong("numpy of a CUDA tensor")
        cuda.copy(args[0], CPU)
    return func(*args, **kwargs)


def _pin(cuda: PretendedCuda, func: Any, args: Any, kwargs: Any) -> Any:
    if device_of(args[0]) == CUDA:
        cuda.wrong("pin_memory of a CUDA tensor")
    out = args[0].clone()
    out.untyped_storage().pinned = True
    return out


def _deepcopy(cuda: PretendedCuda, func: Any, args: Any, kwargs: Any) -> Any:
    out = func(*args, **kwargs)
    claim(out, device_of(args[0]))
    return out


def _device(cuda: PretendedCuda, func: Any, args: Any, kwargs: Any) -> Any:
    return args[0].device if args[0].device.type == "meta" else device_of(args[0]) or CUDA


ANSWERS: dict[Any, Any] = {
    torch.Tensor.device.__get__: _device,
    torch.Tensor.is_cuda.__get__: lambda cuda, func, args, kwargs: device_of(args[0]) == CUDA,
    torch.Tensor.is_cpu.__get__: lambda cuda, func, args, kwargs: device_of(args[0]) == CPU,
    torch.Tensor.is_pinned: lambda cuda, func, args, kwargs: is_pinned(args[0]),
    torch.Tensor.to: _to,
    torch.Tensor.cpu: lambda cuda, func, args, kwargs: _moved(cuda, args[0], CPU),
    torch.Tensor.cuda: lambda cuda, func, args, kwargs: _moved(cuda, args[0], CUDA),
    torch.Tensor.tolist: _read, torch.Tensor.numpy: _read, torch.Tensor.__array__: _read,
    torch._C._nn._parse_to: lambda cuda, func, args, kwargs: func(*args, **kwargs),  # it makes nothing
    torch.Tensor.pin_memory: _pin, torch.Tensor.__deepcopy__: _deepcopy,
}  # fmt: skip


def _unshared(made: list[Tensor], given: list[Tensor]) -> list[Tensor]:
    known = {id(x.untyped_storage()) for x in given if not x.is_meta}
    return [x for x in made if id(x.untyped_storage()) not in known]


class _Ops(TorchDispatchMode):
    """What torch itself runs."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and the guard against it costs as much as the rules

    def __init__(self, cuda: PretendedCuda) -> None:
        super().__init__()
        self.cuda = cuda

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunction():
            return self._run(func, args, kwargs or {})

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        cuda, kind = self.cuda, traits(func)
        tensors = tensors_in((*args, *kwargs.values()) if kwargs else args)
        devices = [device_of(x) for x in tensors]
        device = self._device(func, args, tensors, devices)
        out = func(*args, **kwargs)
        made = [x for x in tensors_in(out) if not x.is_meta]
        new = made if kind.makes_new else _unshared(made, tensors)
        making = device if tensors else getattr(cuda.here, "making", None)
        for x in new:
            claim(x, making or UNKNOWN)
        if kind.mutates and device is not None:
            for x in made:
                if device_of(x) is None:
                    claim(x, device)
        if making == CUDA:
            if func is torch.ops.aten.copy_.default and devices[1] not in (CUDA, None):
                cuda.copy(tensors[1], CUDA, non_blocking=bool(args[2]) if len(args) > 2 else False)
            if waits(func, args):
                cuda.wait(kind.name)
            if new or kind.mutates:
                cuda.ops[kind.name] += 1
        elif func is torch.ops.aten.copy_.default and devices == [CPU, CUDA]:
            cuda.copy(tensors[1], CPU, non_blocking=bool(args[2]) if len(args) > 2 else False)
        return out

    def _device(self, func: Any, args: Any, tensors: list[Tensor], devices: list[Any]) -> Any:
        try:
            ruled = ruling(func, args, tensors, devices)
        except Mismatch as error:
            self.cuda.wrong(str(error))
            return CUDA
        for x in ruled.carried:
            self.cuda.copy(x, CUDA)
        return ruled.device
