"""Numbers on logarithmic axes, written as they are said."""

import math
from collections.abc import Sequence

from matplotlib.ticker import LogFormatterMathtext


class Plain(LogFormatterMathtext):
    """0.1, 1, 10; powers of ten only on an axis that shows ticks outside 0.001 to 100,000."""

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        low, high = sorted(self.axis.get_view_interval())
        plain = all(1e-3 <= v <= 1e5 for v in values if low <= v <= high)
        return [f"{v:.6g}" for v in values] if plain else super().format_ticks(values)


class Between(Plain):
    """Ticks between the powers of ten: 2 and 5 where less than two decades are in view, all where less than a third."""

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        low, high = sorted(self.axis.get_view_interval())
        decades = math.log10(high / low)
        told = range(1, 10) if decades < 1 / 3 else (2, 5) if decades < 2 else ()
        names = Plain.format_ticks(self, values) if told else [""] * len(values)
        first = [round(v / 10 ** math.floor(math.log10(v) + 1e-9)) for v in values]
        return [name if digit in told else "" for name, digit in zip(names, first, strict=True)]
