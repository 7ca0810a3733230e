"""Figures with what was asked of them, a line each."""

__all__ = ["Report"]


class Report:
    """Prints each figure at once; `end` says how many were missed."""

    def __init__(self) -> None:
        self._missed = 0
        self._figures = 0

    def note(self, name: str, value: float, unit: str) -> None:
        """A figure of which nothing is asked."""
        print(f"{name:<52}{value:>10.3f} {unit}", flush=True)

    def figure(self, name: str, value: float, unit: str, most: float, more: str = "") -> None:
        """A figure that must be at most `most`."""
        is_met = value <= most
        self._figures += 1
        self._missed += not is_met
        print(f"{name:<52}{value:>10.3f} {unit}, {'met' if is_met else 'MISSED'} (≤ {most:.3g}) {more}", flush=True)

    def end(self) -> int:
        print(f"{self._figures - self._missed} of {self._figures} figures met")
        return 0
