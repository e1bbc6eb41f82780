"""What a checksum of a weight bucket notices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from stepcoder_dist.host.checksum import checksum

PAGE, ROW, TABLE = 4096, 8192, 2**20
SIZE = 2 * TABLE + 3 * ROW + 5
"""Two full tables, a table of three rows, a rest of five bytes."""


@pytest.fixture
def data() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8)


@pytest.mark.parametrize("place", [0, 7, ROW, TABLE - 1, TABLE, 2 * TABLE, SIZE - 6, SIZE - 1])
def test_one_flipped_bit_is_noticed_wherever_it_is(data: npt.NDArray[np.uint8], place: int) -> None:
    before = checksum([data])
    data[place] ^= 128
    assert checksum([data]) != before


@pytest.mark.parametrize(
    ("one", "other", "size"),
    [
        (0, 8, 8),
        (0, PAGE, PAGE),
        (ROW, 3 * ROW, ROW),
        (16, 5 * ROW + 16, 8),
        (0, TABLE, TABLE),
        (SIZE - 5, SIZE - 4, 1),
    ],
    ids=["words", "pages", "rows", "words of one column", "tables", "bytes of the rest"],
)
def test_parts_that_changed_places_are_noticed(
    data: npt.NDArray[np.uint8], one: int, other: int, size: int
) -> None:
    before = checksum([data])
    kept = data[one : one + size].copy()
    data[one : one + size] = data[other : other + size]
    data[other : other + size] = kept
    assert checksum([data]) != before


def test_a_page_of_zeros_is_noticed(data: npt.NDArray[np.uint8]) -> None:
    before = checksum([data])
    data[5 * PAGE : 6 * PAGE] = 0
    assert checksum([data]) != before


def test_order_and_borders_of_the_pieces_count(data: npt.NDArray[np.uint8]) -> None:
    first, second = data[:ROW], data[ROW : 2 * ROW]
    whole = checksum([first, second])
    assert checksum([second, first]) != whole
    assert checksum([data[: 2 * ROW]]) != whole
    assert checksum([first, second, data[:0]]) != whole


def test_bytes_that_begin_off_a_words_border_have_the_same_sum(
    data: npt.NDArray[np.uint8],
) -> None:
    shifted = np.empty(SIZE + 2, dtype=np.uint8)
    shifted[2:] = data
    assert checksum([shifted[2:]]) == checksum([data])
