"""How a figure is written: three digits that count, no more."""

from __future__ import annotations


def short(figure: float) -> str:
    """Return it with as many places as are worth reading.

    >>> [short(figure) for figure in (2002.4, 78.25, 2.614, 0.166, 0.0638, 0.000902)]
    ['2,002', '78.2', '2.61', '0.17', '0.064', '0.0009']
    """
    places = next(
        (
            places
            for least, places in ((100, 0), (10, 1), (0.1, 2), (0.01, 3))
            if abs(figure) >= least
        ),
        4,
    )
    return f"{figure:,.{places}f}"
