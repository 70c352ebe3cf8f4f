"""Orders in which a sequence takes the patches of an image.

`raster` is row by row, `reversed` the same backwards, `zigzag` row by row with every other row
backwards, and `hilbert` follows Hilbert's curve, whose neighbours are neighbours in the image (D.
Hilbert, Mathematische Annalen 38, 1891).
"""

from collections.abc import Iterator


def order_of(scan: str, side: int) -> list[int]:
    """Numbers of the patches, counted row by row, in the order of the sequence: a permutation of
    side * side numbers.

    Raises `ValueError` for another name, and for `hilbert` where `side` is no power of two.
    """
    numbers = list(range(side * side))
    if scan == "raster":
        return numbers
    if scan == "reversed":
        return numbers[::-1]
    if scan == "zigzag":
        rows = [numbers[start : start + side] for start in range(0, len(numbers), side)]
        return [
            number for index, row in enumerate(rows) for number in (row[::-1] if index % 2 else row)
        ]
    if scan != "hilbert":
        raise ValueError(
            f"there is no scan {scan!r}; allowed are raster, reversed, zigzag, hilbert"
        )
    if side < 1 or side & (side - 1):
        raise ValueError(f"Hilbert's curve needs a side that is a power of two, found {side}")
    return [row * side + column for row, column in _hilbert(side, (0, 0), (1, 0), (0, 1))]


def _hilbert(
    side: int, corner: tuple[int, int], along: tuple[int, int], across: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    """Places of a square from its corner: the curve begins there and ends in the corner `side` - 1
    steps along `across`.
    """
    if side == 1:
        yield corner
        return
    half = side // 2
    row, column = corner

    def at(forward: int, sideward: int) -> tuple[int, int]:
        return (
            row + forward * along[0] + sideward * across[0],
            column + forward * along[1] + sideward * across[1],
        )

    back = (-along[0], -along[1]), (-across[0], -across[1])
    yield from _hilbert(half, at(0, 0), across, along)
    yield from _hilbert(half, at(half, 0), along, across)
    yield from _hilbert(half, at(half, half), along, across)
    yield from _hilbert(half, at(half - 1, side - 1), back[1], back[0])
