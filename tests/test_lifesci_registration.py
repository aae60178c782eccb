"""register, unregister, registered."""

from __future__ import annotations

from importlib import import_module

import pytest

from dgl_gmpool import GMPool, NGMPool, register, registered, unregister
from dgl_gmpool._environment import import_dgllife
from dgl_gmpool.lifesci.registration import PLACES

NAMES = {"GMPool": GMPool, "NGMPool": NGMPool}


@pytest.fixture(autouse=True)
def places():
    import_dgllife("model")
    unregister()
    modules = [import_module(place) for place in PLACES]
    before = [dict(vars(module)) for module in modules]
    yield modules
    unregister()
    assert [dict(vars(module)) for module in modules] == before


def present(modules):
    return [getattr(m, name, None) for m in modules for name in NAMES]


def test_register_is_idempotent_and_reversible(places):
    assert present(places) == [None] * 10
    for _ in range(2):
        register()
        assert present(places) == list(NAMES.values()) * 5
    from dgl.nn import GMPool as here
    from dgl.nn.pytorch.glob import NGMPool as there
    from dgllife.model.readout import GMPool as and_there

    assert (here, there, and_there) == (GMPool, NGMPool, GMPool)
    for _ in range(2):
        unregister()
        assert present(places) == [None] * 10


def test_refuses_a_foreign_object_and_then_changes_nothing(places, monkeypatch):
    foreign = object()
    # In the last module, so that a registration in order would have changed the others by then.
    monkeypatch.setattr(places[-1], "NGMPool", foreign, raising=False)
    with pytest.raises(ValueError, match=r"dgllife\.model\.NGMPool exists already and is not ours"):
        register()
    with pytest.raises(ValueError, match="from dgl_gmpool import NGMPool"), registered():
        pass
    assert present(places) == [None] * 9 + [foreign]
    unregister()
    assert places[-1].NGMPool is foreign
    monkeypatch.undo()


def test_block(places):
    with registered():
        assert present(places) == list(NAMES.values()) * 5
        with registered():
            pass
        # The inner block added nothing, so it takes nothing away.
        assert present(places) == list(NAMES.values()) * 5
    assert present(places) == [None] * 10
    with pytest.raises(RuntimeError, match="inside"), registered():
        raise RuntimeError("inside")
    assert present(places) == [None] * 10


def test_block_after_register_leaves_it_registered(places):
    register()
    with registered():
        pass
    assert present(places) == list(NAMES.values()) * 5
