"""What all tests share: hypothesis without a clock, interoperability tests last, skips that count where told to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from test.vectors import ABSENT

if TYPE_CHECKING:
    from collections.abc import Generator

# How long one example takes says nothing about the code on a machine that also builds something else.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("default")

# where every peer is installed a skip is a fault, but for data that is not the project's
NO_SKIPS = os.environ.get("IPFS_KIT_NO_SKIPS") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what talks to real peers, and run it last: the peers may still be being built."""
    for item in items:
        if "interop" in item.path.parent.parts:
            item.add_marker("interop")
    items.sort(key=lambda item: item.get_closest_marker("interop") is not None)


def _refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    if NO_SKIPS and report.skipped and getattr(report, "wasxfail", None) is None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if reason.endswith(ABSENT):
            return
        report.outcome = "failed"
        report.longrepr = f"nothing may be skipped in this run: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where nothing may be skipped, a skipped test has failed."""
    report = yield
    _refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that is skipped as it is collected."""
    report = yield
    _refuse(report)
    return report
