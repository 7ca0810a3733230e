"""Charts of results as SVG, readable on a light and on a dark page, without dependencies."""

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

__all__ = ["bars", "lines", "stacked"]

WIDTH = 720
LABELS = 130
ROW = 26
# Distinguishable with colour blindness too (Okabe and Ito); the first is flagent-cdc's.
COLOURS = ["#0072b2", "#999999", "#e69f00", "#cc79a7", "#009e73", "#d55e00", "#56b4e9", "#f0e442"]
_STYLE = (
    "<style>text{font:13px system-ui,sans-serif;fill:#444}.title{font-weight:600;font-size:15px}.grid{stroke:#8885}"
    "@media (prefers-color-scheme:dark){text{fill:#ccc}}</style>"
)


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _document(height: float, title: str, body: Sequence[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img"'
            f' aria-label="{escape(title)}">',
            _STYLE,
            f'<text class="title" x="10" y="22">{escape(title)}</text>',
            *body,
            "</svg>\n",
        ]
    )


def bars(title: str, unit: str, groups: Mapping[str, Mapping[str, float]]) -> str:
    """Horizontal bars: group (one scenario or mode) by server by value, on one linear scale from zero."""
    largest = max((value for group in groups.values() for value in group.values()), default=1) or 1
    room = WIDTH - LABELS - 110
    body = []
    y = 44.0
    servers = list(dict.fromkeys(server for group in groups.values() for server in group))
    for name, group in groups.items():
        body.append(f'<text x="10" y="{y + 13:g}">{escape(name)}</text>')
        y += 20
        for server, value in group.items():
            width = max(1.0, value / largest * room)
            colour = COLOURS[servers.index(server) % len(COLOURS)]
            body.append(f'<text x="{LABELS - 8}" y="{y + 15:g}" text-anchor="end">{escape(server)}</text>')
            body.append(f'<rect x="{LABELS}" y="{y + 3:g}" width="{width:.1f}" height="{ROW - 8}" fill="{colour}"/>')
            body.append(f'<text x="{LABELS + width + 6:.1f}" y="{y + 15:g}">{_number(value)} {escape(unit)}</text>')
            y += ROW
        y += 8
    return _document(y + 6, title, body)


def stacked(title: str, unit: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    """One bar per row, made of its parts, on one linear scale from zero, with a legend below."""
    largest = max((sum(parts.values()) for parts in rows.values()), default=1) or 1
    room = WIDTH - LABELS - 110
    names = list(dict.fromkeys(name for parts in rows.values() for name in parts))
    body = []
    y = 40.0
    for row, parts in rows.items():
        body.append(f'<text x="{LABELS - 8}" y="{y + 15:g}" text-anchor="end">{escape(row)}</text>')
        x = float(LABELS)
        for name, value in parts.items():
            width = value / largest * room
            colour = COLOURS[names.index(name) % len(COLOURS)]
            body.append(f'<rect x="{x:.1f}" y="{y + 3:g}" width="{width:.1f}" height="{ROW - 8}" fill="{colour}"/>')
            x += width
        total = _number(sum(parts.values()))
        body.append(f'<text x="{x + 6:.1f}" y="{y + 15:g}">{total} {escape(unit)}</text>')
        y += ROW
    y += 8
    for place, name in enumerate(names):
        x, line = 10 + place % 3 * 235, y + place // 3 * 22
        colour = COLOURS[place % len(COLOURS)]
        body.append(f'<rect x="{x}" y="{line:g}" width="14" height="14" fill="{colour}"/>')
        body.append(f'<text x="{x + 20}" y="{line + 12:g}">{escape(name)}</text>')
    return _document(y + -(-len(names) // 3) * 22 + 6, title, body)


def lines(title: str, x_title: str, unit: str, series: Mapping[str, Mapping[float, float]]) -> str:
    """One line per server over a logarithmic x axis; y starts at zero."""
    left, right, top, bottom = 70, WIDTH - 130, 44, 300
    xs = sorted({x for points in series.values() for x in points})
    highest = max((y for points in series.values() for y in points.values()), default=1) or 1
    step = 10 ** math.floor(math.log10(highest))
    step = next(size for size in (step / 2, step, step * 2, step * 5) if highest / size <= 6)
    ceiling = math.ceil(highest / step) * step
    low, high = math.log(xs[0]), math.log(xs[-1]) if len(xs) > 1 else math.log(xs[0]) + 1

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + (math.log(x) - low) / (high - low) * (right - left),
            bottom - y / ceiling * (bottom - top),
        )

    body = []
    for number in range(round(ceiling / step) + 1):
        _, y = place(xs[0], number * step)
        body.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        body.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{_number(number * step)}</text>')
    body += [f'<text x="{place(x, 0)[0]:.1f}" y="{bottom + 20}" text-anchor="middle">{_number(x)}</text>' for x in xs]
    body.append(f'<text x="{(left + right) / 2:g}" y="{bottom + 42}" text-anchor="middle">{escape(x_title)}</text>')
    ends: list[float] = []
    for number, (server, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = [place(x, y) for x, y in sorted(points.items())]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in path)
        body.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        body += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in path]
        y = path[-1][1]
        while any(abs(y - other) < 15 for other in ends):  # labels must not overlap
            y += 15
        ends.append(y)
        body.append(f'<text x="{path[-1][0] + 10:.1f}" y="{y + 4:.1f}" style="fill:{colour}">{escape(server)}</text>')
    return _document(bottom + 56, f"{title} ({unit})", body)
