"""The garbage collector around large imports and long loops."""

from __future__ import annotations

import gc

import pytest

from stepcoder_dist.host import collector


@pytest.fixture(autouse=True)
def _as_before():
    yield
    gc.unfreeze()
    gc.enable()


def test_the_collector_rests_inside_and_works_after_also_after_an_error():
    with collector.resting():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), collector.resting():
        raise ImportError
    assert gc.isenabled()


def test_what_was_made_inside_is_not_searched_again():
    before = gc.get_freeze_count()
    with collector.resting():
        made = [[] for _ in range(1000)]
    assert gc.get_freeze_count() >= before + len(made)


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    with collector.resting():
        pass
    assert not gc.isenabled()


def test_seldom_searches_spare_what_is_there_and_end_with_the_block():
    before = gc.get_threshold()
    held = [[] for _ in range(1000)]
    with collector.seldom():
        assert gc.get_threshold() == collector.SELDOM
        assert gc.get_freeze_count() >= len(held)
    assert gc.get_threshold() == before
