"""Orders in which a sequence takes the patches of an image.

`raster` is row by row, `reversed` the same backwards, `zigzag` row by row with every other row
backwards, and `hilbert` follows Hilbert's curve, whose neighbours are neighbours in the image (D.
Hilbert, Mathematische Annalen 38, 1891).
"""

from collections.abc import Iterator


def order_of(scan: str, rows: int, columns: int | None = None) -> list[int]:
    """Numbers of the patches, counted row by row, in the order of the sequence: a permutation of
    rows * columns numbers; of a square without `columns`.

    Raises `ValueError` for another name, and for `hilbert` where the grid is no square or its side
    no power of two.
    """
    columns = rows if columns is None else columns
    numbers = list(range(rows * columns))
    if scan == "raster":
        return numbers
    if scan == "reversed":
        return numbers[::-1]
    if scan == "zigzag":
        lines = [numbers[start : start + columns] for start in range(0, len(numbers), columns)]
        return [
            number
            for index, line in enumerate(lines)
            for number in (line[::-1] if index % 2 else line)
        ]
    if scan != "hilbert":
        raise ValueError(f"there is no scan {scan!r}; allowed: raster, reversed, zigzag, hilbert")
    if rows != columns or rows < 1 or rows & (rows - 1):
        raise ValueError(
            f"Hilbert's curve needs a side that is a power of two, found {rows} x {columns}"
        )
    return [row * columns + column for row, column in _hilbert(rows, (0, 0), (1, 0), (0, 1))]


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
