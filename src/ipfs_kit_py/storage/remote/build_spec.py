"""A tier's table of the configuration, read key by key: each of its type, none of them unknown, secrets kept out of
every text.

    def make(spec: TierSpec, context: TierContext) -> RemoteTier:
        return MyTier(spec.text("endpoint"), name=spec.name, seconds=spec.number("seconds", context.seconds))

``${NAME}`` in a text is replaced from the environment: so tokens need not stand in a file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar, overload

from ipfs_kit_py.core.config import MAX_TIER_ITEMS, tier_name
from ipfs_kit_py.core.errors import ConfigError

T = TypeVar("T")

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_TYPES = {str: "a text", bool: "true or false", int: "a whole number", list: "a list of texts", dict: "a table"}
_HIDDEN_CHARS = 4  # the shortest secret that is looked for in messages: shorter ones are parts of any word


class _Needed:
    """The default of a key that must be there."""


NEEDED: Final = _Needed()


class TierSpec:
    """One ``[[tiers]]`` table, or a table inside one. ``environment`` is what ``${NAME}`` stands for.

    The verbs give the value of a key, the default where it is not there, and raise ``ConfigError`` for a value of
    another type, out of bounds, or (without a default) missing. ``finish`` raises for keys that no verb asked for.
    """

    def __init__(self, table: Mapping[str, object], environment: Mapping[str, str], *, within: str = "") -> None:
        self._table = table
        self._environment = environment
        self._within = within  # the keys that lead here, with a dot at the end
        self._asked = {"type", "name"} if not within else set()
        self._inner: list[TierSpec] = []
        self._secrets: set[str] = set()
        self.name = tier_name(table) if not within else ""
        self.type = str(table["type"]) if not within else ""

    def __repr__(self) -> str:
        return f"<TierSpec {self.name}: {', '.join(self._table)}>"

    # --- values -------------------------------------------------------------------------------------------------------
    @overload
    def text(self, key: str) -> str: ...
    @overload
    def text(self, key: str, default: T) -> str | T: ...
    def text(self, key: str, default: object = NEEDED) -> object:
        """A text, with its variables replaced."""
        value = self._get(key, str, default)
        return self._filled(key, value) if isinstance(value, str) and key in self._table else value

    def flag(self, key: str, default: bool) -> bool:
        """``true`` or ``false``."""
        return bool(self._get(key, bool, default))

    @overload
    def count(self, key: str, *, least: int = 0, most: int = 1 << 62) -> int: ...
    @overload
    def count(self, key: str, default: T, *, least: int = 0, most: int = 1 << 62) -> int | T: ...
    def count(self, key: str, default: object = NEEDED, *, least: int = 0, most: int = 1 << 62) -> object:
        """A whole number within bounds."""
        value = self._get(key, int, default)
        if key in self._table and not (isinstance(value, int) and least <= value <= most):
            raise self.wrong(key, f"must be a whole number of {least} to {most}")
        return value

    @overload
    def number(self, key: str) -> float: ...
    @overload
    def number(self, key: str, default: T) -> float | T: ...
    def number(self, key: str, default: object = NEEDED) -> object:
        """A number above 0, such as seconds."""
        if key not in self._table:
            return self._get(key, int, default)
        value = self._table[key]
        self._asked.add(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise self.wrong(key, "must be a number above 0")
        return float(value)

    @overload
    def texts(self, key: str) -> tuple[str, ...]: ...
    @overload
    def texts(self, key: str, default: T) -> tuple[str, ...] | T: ...
    def texts(self, key: str, default: object = NEEDED) -> object:
        """A list of texts, with their variables replaced."""
        value = self._get(key, list, default)
        if key not in self._table or not isinstance(value, list):
            return value
        if len(value) > MAX_TIER_ITEMS or not all(isinstance(item, str) for item in value):
            raise self.wrong(key, f"must be a list of at most {MAX_TIER_ITEMS} texts")
        return tuple(self._filled(key, item) for item in value)

    def pairs(self, key: str) -> dict[str, str]:
        """A table of texts, empty where it is not there."""
        inner = self.table(key)
        if inner is None:
            return {}
        if len(inner._table) > MAX_TIER_ITEMS:
            raise self.wrong(key, f"must have at most {MAX_TIER_ITEMS} entries")
        return {name: inner.text(name) for name in inner._table}

    def table(self, key: str) -> TierSpec | None:
        """A table inside, to be read likewise; ``None`` where it is not there."""
        value = self._get(key, dict, None)
        if not isinstance(value, Mapping):
            return None
        inner = TierSpec(value, self._environment, within=f"{self._within}{key}.")
        inner.name, inner._secrets = self.name, self._secrets
        self._inner.append(inner)
        return inner

    def __contains__(self, key: object) -> bool:
        return key in self._table

    # --- judgement ----------------------------------------------------------------------------------------------------
    def finish(self) -> None:
        """``ConfigError`` where the table has keys that nothing asked for."""
        for spec in (self, *self._inner):
            for key in spec._table:
                if key not in spec._asked:
                    known = ", ".join(sorted(spec._asked - {"type"})) or "none"
                    raise spec.wrong(str(key), f"is unknown; keys there are: {known}")
            if spec is not self:
                spec.finish()

    def wrong(self, key: str, what: str) -> ConfigError:
        """An error about one key, which must not quote its value."""
        return ConfigError(f"tier {self.name}: the key {self._within}{key} {what}")

    def hidden(self, text: str) -> str:
        """``text`` without what came from the environment."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "…")
        return text

    def _get(self, key: str, kind: type, default: object) -> Any:
        self._asked.add(key)
        if key not in self._table:
            if default is NEEDED:
                raise self.wrong(key, f"is missing: it is {_TYPES[kind]}")
            return default
        value = self._table[key]
        wanted = Mapping if kind is dict else kind
        if not isinstance(value, wanted) or (kind is int and isinstance(value, bool)):
            raise self.wrong(key, f"must be {_TYPES[kind]}, not of type {type(value).__name__}")
        return value

    def _filled(self, key: str, text: str) -> str:
        def value_of(found: re.Match[str]) -> str:
            variable = found.group(1)
            if variable not in self._environment:
                raise self.wrong(key, f"names the environment variable {variable}, which is not set")
            value = self._environment[variable]
            if len(value) >= _HIDDEN_CHARS:
                self._secrets.add(value)
            return value

        if "${" in _VARIABLE.sub("", text):
            raise self.wrong(key, "has ${ that begins no variable; put such a text into an environment variable whole")
        return _VARIABLE.sub(value_of, text)
