"""What phasescope costs on a device: its readings, phases, steps, and what its threads do to others."""

from __future__ import annotations

import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

import phasescope
from gpu_checks.rows import Row, Setting, lacks, place_of, spread, timed_us, warm_up
from phasescope import phase
from phasescope.backends.nvml import Nvml
from phasescope.backends.torch_cuda import Cuda

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "peaks": {"peaks": True},
    "device time": {"device_time": True},
    "all": {"peaks": True, "device_time": True},
}
_POOLS = 50
_ROUNDS = 3
_SLOWER = 1.05


def readings(setting: Setting) -> Iterator[Row]:
    """Yield the cost of torch's statistics, first, cold and warm, and of a phase with each option, without pools and
    with fifty."""
    import torch

    warm_up(torch, setting.device)
    ask = torch._C._cuda_memoryStats
    first = timed_us(lambda: ask(setting.device), 1)
    yield Row("torch's statistics, the first time", f"{first[0]:.1f} µs", "", None, "a figure, compared with nothing")
    cold = []
    for _ in range(20):
        time.sleep(0.01)
        cold += timed_us(lambda: ask(setting.device), 1)
    yield Row("torch's statistics, after 10 ms of rest", spread(cold), "", None, "a figure, compared with nothing")
    yield from _phases(setting, "no private pool")
    why_not = lacks(torch, "cuda.MemPool", "cuda.use_mem_pool")
    if why_not:
        yield Row(f"the same with {_POOLS} private pools", "", "", None, why_not)
        return
    pools = [torch.cuda.MemPool() for _ in range(_POOLS)]
    kept = []
    for pool in pools:
        with torch.cuda.use_mem_pool(pool):
            kept.append(torch.empty(1024, dtype=torch.uint8, device=setting.place))
    yield from _phases(setting, f"{_POOLS} private pools")


def _phases(setting: Setting, how: str) -> Iterator[Row]:
    import torch

    warm = timed_us(lambda: torch._C._cuda_memoryStats(setting.device), 1000)
    yield Row(f"torch's statistics, warm, {how}", spread(warm), "", None, "a figure, compared with nothing")
    for name, options in _OPTIONS.items():
        with phasescope.start(backends=["cuda"], **options):
            taken = timed_us(_pass, 3000)
        median = statistics.median(taken)
        budget = 2 * statistics.median(warm) + setting.budget_us
        holds = median <= budget if name == "plain" else None
        note = "twice torch's statistics, and the budget" if name == "plain" else "a figure, compared with nothing"
        independent = f"<= {budget:.1f} µs" if name == "plain" else ""
        yield Row(f"a phase, {name}, {how}", spread(taken), independent, holds, note)


def _pass() -> None:
    with phase("step"):
        pass


def fresh_thread(setting: Setting) -> Iterator[Row]:
    """Asking an event from a thread that never chose a device makes no context on any other."""
    import torch

    count = torch.cuda.device_count()
    has_context = getattr(torch._C, "_cuda_hasPrimaryContext", None)
    if has_context is None or count < 2:
        note = "this torch cannot tell" if has_context is None else "there is one device: none to make a context on"
        yield Row("contexts that a fresh thread makes", "", "", None, note)
    else:
        used = count - 1
        warm_up(torch, used)
        before = [has_context(device) for device in range(count)]
        _in_fresh_thread(used)
        after = [has_context(device) for device in range(count)]
        yield Row("contexts that a fresh thread makes", str(after), str(before), before == after)
    warm_up(torch, setting.device)
    found = _in_fresh_thread(setting.device)
    yield Row(
        "what it learns of the device's time", str(found[0]), "milliseconds", isinstance(found[0], float), found[1]
    )


def _in_fresh_thread(device: int) -> tuple[float | None, str]:
    backend = Cuda()
    assert backend.ready()
    begin, end = backend.time_mark(device), backend.time_mark(device)
    assert begin is not None
    assert end is not None
    _synchronize(device)
    told: list[Any] = [None, "it did not answer"]

    def ask() -> None:
        try:
            told[:] = [backend.time_between(begin, end), ""]
        except Exception as error:
            told[1] = f"{type(error).__name__}: {error}"[:90]

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(timeout=30)
    return told[0], told[1]


def _synchronize(device: int) -> None:
    import torch

    torch.cuda.synchronize(device)


def steps(setting: Setting) -> Iterator[Row]:
    """Yield the time of a training step without phasescope and with it, turn by turn, and the loss of each."""
    import torch

    why_not = lacks(torch, "nn.TransformerEncoderLayer", "optim.AdamW", "bfloat16")
    if why_not:
        yield Row("the time of a step", "", "", None, why_not)
        return
    warm_up(torch, setting.device)
    for name, width, batch, count in (("20 ms and more", 2048, 32, 30), ("1 to 2 ms", 128, 4, 300)):
        taken: dict[str, list[float]] = {}
        losses: dict[str, list[float]] = {}
        for _round in range(3):
            for how in ("off", "on", "instrument", "all options"):
                found, loss = _trained(torch, setting.device, width, batch, count, how)
                taken.setdefault(how, []).extend(found)
                losses.setdefault(how, []).append(loss)
        off = statistics.median(taken.pop("off"))
        for how, times in taken.items():
            median = statistics.median(times)
            is_small = median <= _SLOWER * off
            yield Row(
                f"a step of {name}, {how}", f"{median / 1000:.3f} ms", f"{off / 1000:.3f} ms off", is_small, "to 5 %"
            )
        alike = len({loss for found in losses.values() for loss in found}) == 1
        yield Row(f"the loss of a step of {name}", str(losses["on"][0]), str(losses["off"][0]), alike, "to the bit")


def _trained(torch: Any, device: int, width: int, batch: int, count: int, how: str) -> tuple[list[float], float]:
    torch.manual_seed(0)
    model = torch.nn.TransformerEncoderLayer(width, 8, 4 * width, dropout=0.0, batch_first=True)
    model = model.to(place_of(device), dtype=torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    inputs = torch.randn(batch, 128, width, device=place_of(device), dtype=torch.bfloat16)
    losses = []

    def step() -> None:
        loss = model(inputs).float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
        if device >= 0:
            torch.cuda.synchronize(device)

    def marked() -> None:
        with phase("step"):
            step()

    options = _OPTIONS["all" if how == "all options" else "plain"]
    session = None if how == "off" else phasescope.start(backends=["cuda" if device >= 0 else "cpu"], **options)
    if how == "instrument":
        from phasescope.integrations.torch import instrument

        instrument(model, optimizer)
    call = step if how in ("off", "instrument") else marked
    timed_us(call, 5)
    taken = timed_us(call, count)
    if session is not None:
        session.stop()
    return taken, float(losses[-1])


def heartbeat(setting: Setting) -> Iterator[Row]:
    """Yield the gaps in a thread that only counts, while memory is taken from the driver and given back."""
    import torch

    why_not = lacks(torch, "cuda.empty_cache")
    if why_not:
        yield Row("gaps of another thread", "", "", None, why_not)
        return
    warm_up(torch, setting.device)
    more_ms = max(20, setting.budget_us / 1000)  # on a busy machine the budget is larger
    # What the sampler brings about is there in each round, what else runs on the machine is not.
    for attempt in range(1, _ROUNDS + 1):  # noqa: B007 - used behind the loop
        without, sampled = (max(_gaps(torch, setting, is_sampled)) / 1e6 for is_sampled in (False, True))
        holds = sampled <= max(2 * without, without + more_ms)
        if holds:
            break
    yield Row(
        "gaps of another thread, cudaMalloc and empty_cache",
        f"longest {sampled:.1f} ms",
        f"longest {without:.1f} ms",
        holds,
        f"to twice, or 20 ms more; in round {attempt} of at most {_ROUNDS}",
    )


def _gaps(torch: Any, setting: Setting, is_sampled: bool) -> Sequence[int]:
    done, gaps = threading.Event(), [0]

    def beat() -> None:
        last = time.perf_counter_ns()
        while not done.wait(0.001):
            now = time.perf_counter_ns()
            gaps.append(now - last)
            last = now

    session = phasescope.start(backends=["cuda"], interval_ms=5) if is_sampled else None
    thread = threading.Thread(target=beat)
    thread.start()
    for _ in range(40):
        kept = torch.empty(8 * setting.size_bytes, dtype=torch.uint8, device=setting.place)
        del kept
        torch.cuda.empty_cache()
    done.set()
    thread.join()
    if session is not None:
        session.stop()
    return gaps


def driver_calls(setting: Setting) -> Iterator[Row]:
    """Yield what NVML takes, idle and while the device works."""
    import torch

    warm_up(torch, setting.device)
    backend = Cuda()
    assert backend.ready()
    identity = backend.identity(setting.device)
    if identity is None:
        yield Row("calls of NVML", "", "", None, "torch does not say which device it is")
        return
    now = [0]
    driver = Nvml(monotonic_ns=lambda: now[0])

    def listed() -> None:
        now[0] += 10_000_000_000
        driver.extra(identity)

    asked: dict[str, Callable[[], object]] = {"memory": lambda: driver.device(identity), "processes": listed}
    for load in ("idle", "under load"):
        if load == "under load":
            matrix = torch.rand(4096, 4096, device=setting.place)
            for _ in range(200):
                matrix @ matrix
        for name, call in asked.items():
            yield Row(f"NVML, {name}, {load}", spread(timed_us(call, 200)), "", None, "a figure, compared with nothing")


def capture(setting: Setting) -> Iterator[Row]:
    """Yield what comes of a graph captured in this thread while the sampler's asks for device times."""
    import torch

    why_not = lacks(torch, "cuda.CUDAGraph", "cuda.graph")
    if why_not:
        yield Row("a graph captured beside device times", "", "", None, why_not)
        return
    warm_up(torch, setting.device)
    matrix = torch.rand(1024, 1024, device=setting.place)
    matrix @ matrix
    what = "completed"
    with phasescope.start(backends=["cuda"], device_time=True, interval_ms=1):
        for _ in range(20):
            with phase("before"):
                matrix @ matrix
            try:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    for _ in range(50):
                        matrix @ matrix
                        time.sleep(0.0005)
                graph.replay()
                torch.cuda.synchronize(setting.device)
            except RuntimeError as error:
                what = str(error).splitlines()[0][:90]
                break
    yield Row("a graph captured beside device times", what, "completed", what == "completed")
