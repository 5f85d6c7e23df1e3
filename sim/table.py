"""The figures as a table of Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROWS = (  # name, format, factor, what
    ("finds", "{:,.0f}", 1, "searches for a provider"),
    ("success", "{:.2f} %", 100, "that found it"),
    ("hops", "{:.2f}", 1, "hops to the first provider"),
    ("first_p50", "{:.2f} s", 1, "time to the first provider, p50"),
    ("first_p95", "{:.2f} s", 1, "p95"),
    ("first_p99", "{:.2f} s", 1, "p99"),
    ("first_messages", "{:.1f}", 1, "messages until then"),
    ("walk_p50", "{:.2f} s", 1, "whole lookup, p50"),
    ("walk_p95", "{:.2f} s", 1, "p95"),
    ("walk_p99", "{:.2f} s", 1, "p99"),
    ("messages", "{:.1f}", 1, "messages of a whole lookup"),
    ("lookup_hops", "{:.2f}", 1, "its hops"),
    ("right", "{:.2f}", 1, "of the 20 truly closest it ends with"),
    ("peers", "{:.0f}", 1, "peers of a table"),
    ("live", "{:.1f} %", 100, "of them online"),
    ("missing", "{:.1f} %", 100, "of the 20 nearest neighbours not in it"),
    ("slower", "{:.0f} %", 100, "of a far bucket's peers are faster than those in the table"),
    ("modelled", "{:.1f} %", 100, "online of those that modelled nodes name"),
    ("provide_p50", "{:.2f} s", 1, "lookup to provide one key, p50"),
    ("provide_messages", "{:.1f}", 1, "messages to provide one key by itself"),
    ("swept", "{:,.0f}", 1, "keys reprovided by the sweep"),
    ("sweep_lookups", "{:,.0f}", 1, "lookups for them"),
    ("sweep_saved", "{:.2f} %", 100, "fewer than one by one"),
    ("sweep_messages", "{:.2f}", 1, "messages of lookups per key"),
    ("sweep_tells", "{:.3f}", 1, "peers connected to, to be told, per key (20 one by one)"),
    ("sweep_minutes", "{:.1f} min", 1, "for all, where all is due at once"),
    ("sweep_held", "{:.1f}", 1, "of the 20 truly closest have the record then"),
    ("sweep_success", "{:.1f} %", 100, "of searches for them succeed"),
    ("identities", "{:,.0f}", 1, "identities that come and leave"),
    ("sent", "{:,.0f}", 1, "messages simulated"),
    ("cpu", "{:.0f} s", 1, "of one core for the simulation"),
)


def table(results: Mapping[str, Mapping[int, Mapping[str, float]]]) -> str:
    """Ours and plain Kademlia side by side, by size."""
    columns = [
        (f"{size:,}" if kind == "ours" else f"plain {size:,}", results[kind][size])
        for size in sorted({size for rows in results.values() for size in rows})
        for kind in ("ours", "plain")
        if size in results[kind]
    ]
    lines = [
        "| servers online | " + " | ".join(name for name, _row in columns) + " |",
        "|---" + "|--:" * len(columns) + "|",
    ]
    for name, form, factor, what in _ROWS:
        if any(name in row for _name, row in columns):
            cells = [form.format(row[name] * factor) if name in row else "" for _name, row in columns]
            lines.append(f"| {what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
