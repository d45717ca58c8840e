"""JAX's devices over a fake with GPUs; the real ones are in test_backend_frameworks.py."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from phasescope.backends import cuda_driver
from phasescope.backends.jax import Jax
from phasescope.backends.protocol import DeviceCounters, DeviceIdentity
from support.fakes.fake_jax import GIB, FakeClient, FakeJax
from support.fakes.processes import in_forked_child, in_new_python

if TYPE_CHECKING:
    from phasescope.backends.protocol import Backend

MIB = 2**20
pytestmark = pytest.mark.neutral


@pytest.fixture
def jax(monkeypatch: pytest.MonkeyPatch) -> FakeJax:
    return FakeJax().install(monkeypatch)


def test_it_is_ready_once_the_training_initialised_jax(jax: FakeJax) -> None:
    backend: Backend = Jax()
    assert not backend.ready()
    with pytest.raises(RuntimeError, match="not initialised"):
        backend.allocator(0)
    jax.initialise()
    assert backend.ready()
    assert list(backend.devices()) == [0, 1]


def test_it_says_which_variable_it_waits_for(jax: FakeJax, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Jax()
    [(namespace, name)] = backend.awaited() or ()
    before = namespace[name]
    jax.initialise()
    assert namespace[name] is not before
    monkeypatch.delitem(sys.modules, jax.bridge.__name__)
    assert backend.awaited() == ()


def test_the_host_keeps_no_statistics_and_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeJax(FakeClient("cpu", 1)).install(monkeypatch)
    fake.initialise()
    backend = Jax()
    assert not backend.ready()
    reason = backend.why_not()
    assert reason is not None
    assert "on the host" in reason.reason


def test_the_accelerators_beside_the_host_are(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeJax(FakeClient("gpu", 1, first=8), FakeClient("cpu", 1)).install(monkeypatch)
    fake.initialise()
    backend = Jax()
    assert list(backend.devices()) == [8]
    assert backend.why_not() is None


def test_in_use_and_the_pool_are_known(jax: FakeJax) -> None:
    jax.initialise().use(1, 300 * MIB)
    backend = Jax()
    assert backend.allocator(1) == (300 * MIB, 60 * GIB, None, None)
    assert backend.unavailable == ("allocator_active_bytes", "allocator_inactive_bytes")
    assert backend.device(1) == DeviceCounters()
    assert backend.extra(1) == {
        "allocator_limit_bytes": 60 * GIB,
        "largest_free_block_bytes": 0,
        "largest_allocation_bytes": 0,
    }


def test_a_runtime_that_does_not_tell_its_pool_leaves_reserved_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeJax(FakeClient(pool=False)).install(monkeypatch).initialise().use(0, 7)
    backend = Jax()
    assert backend.ready()
    assert backend.allocator(0) == (7, 0, None, None)
    assert "allocator_reserved_bytes" in backend.unavailable


def test_what_is_minus_one_is_unknown(jax: FakeJax) -> None:
    for device in jax.initialise().made:
        assert device.stats is not None
        device.stats.update(pool_bytes=-1, largest_free_block_bytes=-1)
    backend = Jax()
    assert backend.ready()
    assert "allocator_reserved_bytes" in backend.unavailable
    assert "largest_free_block_bytes" not in backend.extra(0)


def test_the_current_device_is_the_default_one(jax: FakeJax) -> None:
    client = jax.initialise()
    backend = Jax()
    found = []
    for chosen in (None, client.made[1], "gpu", FakeClient("cpu", 1, first=5).made[0]):
        jax.config.jax_default_device = chosen
        found.append(backend.current_device())
    assert found == [0, 1, 0, 0]


def test_a_device_that_is_lost_raises(jax: FakeJax) -> None:
    client = jax.initialise()
    backend = Jax()
    assert backend.ready()
    client.made[0].is_lost = True
    with pytest.raises(RuntimeError, match="lost"):
        backend.allocator(0)


def test_when_jax_is_taken_down_its_devices_are_let_go(jax: FakeJax) -> None:
    jax.initialise()
    backend = Jax()
    assert backend.ready()
    vars(jax.bridge).update(_default_backend=None, _backends={})
    assert not backend.ready()
    assert backend._devices == {}


def test_an_nvidia_device_is_known_by_its_ordinal(jax: FakeJax, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "identity", lambda ordinal: DeviceIdentity(f"GPU-{ordinal}", None))
    client = jax.initialise()
    assert Jax().identity(1) == DeviceIdentity("GPU-1", None)
    client.platform_version = "rocm 7"
    assert Jax().identity(1) is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_is_refused(jax: FakeJax) -> None:
    jax.initialise()
    backend = Jax()
    assert backend.ready()
    assert in_forked_child(backend.ready) is False


def test_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "modules", {**sys.modules, "jax": None})
    reason = Jax().why_not()
    assert reason is not None
    assert reason.reason == "JAX is not installed"


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed here")
def test_the_fake_is_like_the_installed_jax() -> None:
    code = """
        import json, jax
        from jax._src import xla_bridge
        before = [xla_bridge._default_backend, xla_bridge._backends]
        from phasescope.backends.jax import Jax
        backend = Jax()
        asked = [backend.ready(), backend.why_not().reason]
        assert before == [xla_bridge._default_backend, xla_bridge._backends] == [None, {}]
        device = jax.devices()[0]
        client = xla_bridge._default_backend
        asked_of = {
            device: ("client", "id", "local_hardware_id", "platform", "memory_stats"),
            client: ("platform", "platform_version", "local_devices"),
        }
        lacks = [name for thing, names in asked_of.items() for name in names if not hasattr(thing, name)]
        print(json.dumps([asked, lacks, device.memory_stats(), client.local_devices() == [device],
                          jax.config.jax_default_device, list(xla_bridge._backends), backend.ready()]))
    """
    told: Any = in_new_python(code)
    reason = "JAX runs on the host here, and keeps no statistics of it"
    assert told == f'[[false, "{reason}"], [], null, true, null, ["cpu"], false]'
