"""The plot: how each figure grows with the size, ours and plain Kademlia's, as SVG."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_PANELS = (
    ("first_p50", "time to first provider, p50 (s)"),
    ("first_p99", "time to first provider, p99 (s)"),
    ("walk_p50", "whole lookup, p50 (s)"),
    ("hops", "hops to first provider"),
    ("messages", "messages of a lookup"),
    ("live", "share of a table that is online"),
)
_COLOURS = {"ours": "#1565c0", "plain": "#c62828"}
_WIDE, _HIGH, _MARGIN, _ACROSS = 250, 170, 40, 3
_FONT = 'font-family="sans-serif" font-size="11"'


def plot(results: Mapping[str, Mapping[int, Mapping[str, float]]]) -> str:
    """One panel for each figure; sizes on a logarithmic axis, values from 0."""
    rows = math.ceil(len(_PANELS) / _ACROSS)
    width, height = _ACROSS * (_WIDE + _MARGIN) + _MARGIN, rows * (_HIGH + 2 * _MARGIN)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {_FONT}>']
    parts.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    for number, (name, title) in enumerate(_PANELS):
        left = _MARGIN + number % _ACROSS * (_WIDE + _MARGIN)
        top = _MARGIN + number // _ACROSS * (_HIGH + 2 * _MARGIN)
        parts += _panel(results, name, title, left, top)
    for at, (kind, colour) in enumerate(_COLOURS.items()):
        text = "this package" if kind == "ours" else "plain Kademlia"
        parts.append(f'<text x="{_MARGIN + at * 110}" y="14" fill="{colour}">{text}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(
    results: Mapping[str, Mapping[int, Mapping[str, float]]], name: str, title: str, left: int, top: int
) -> list[str]:
    sizes = sorted({size for rows in results.values() for size in rows})
    values = [row[name] for rows in results.values() for row in rows.values() if name in row]
    most = max(values, default=1.0) * 1.1 or 1.0
    low, high = math.log(sizes[0]), math.log(sizes[-1]) if len(sizes) > 1 else math.log(sizes[0]) + 1

    def x(size: int) -> float:
        return left + 10 + (_WIDE - 20) * (math.log(size) - low) / (high - low)

    def y(value: float) -> float:
        return top + _HIGH * (1 - value / most)

    parts = [f'<text x="{left}" y="{top - 8}">{title}</text>']
    parts.append(f'<path d="M{left} {top}V{top + _HIGH}H{left + _WIDE}" fill="none" stroke="#888"/>')
    parts += [
        f'<text x="{x(size):.0f}" y="{top + _HIGH + 14}" text-anchor="middle" fill="#555">{size:,}</text>'
        for size in sizes
    ]
    for kind, colour in _COLOURS.items():
        points = [(x(size), y(row[name]), row[name]) for size, row in results[kind].items() if name in row]
        line = " ".join(f"{px:.1f},{py:.1f}" for px, py, _value in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for px, py, value in points:
            parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>')
            parts.append(f'<text x="{px:.1f}" y="{py - 6:.1f}" text-anchor="middle" fill="{colour}">{value:.3g}</text>')
    return parts
