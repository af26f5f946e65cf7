"""A matplotlib figure that shows itself in a notebook, without pyplot and its global state."""

from __future__ import annotations

import io

from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A `Figure` that Jupyter draws when it is a cell's result, as it does with pyplot's."""

    def _repr_png_(self) -> bytes:
        with io.BytesIO() as stream:
            self.savefig(stream, format="png", dpi=self.dpi)
            return stream.getvalue()
