"""For all tests: a skipped test is a failure, because nobody looks at what did not run; and none is timed."""

import os

import pytest
from hypothesis import settings

# Threads of NumPy and torch spin while they wait for each other, and crawl where other tests run: in children, too.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

settings.register_profile("skerry", deadline=None)  # a busy machine is slow, and not wrong
settings.load_profile("skerry")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Each worker begins with its share of the tests that may take longest, so that at the end nobody waits for one."""
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    patience = {item: mark.args[0] for item in items if (mark := item.get_closest_marker("timeout"))}
    long = sorted(patience, key=lambda item: -patience[item])
    short = [item for item in items if item not in patience]
    size = -(-len(short) // workers)
    items[:] = [
        item for n in range(workers) for item in (*long[n::workers], *short[n * size : (n + 1) * size])
    ]  # xdist deals out a piece of the list to each


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.stats.get("skipped", []):
        terminalreporter.write_line(f"skipped, which is not allowed here: {report.nodeid or report.longrepr}", red=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = bool(reporter and reporter.stats.get("skipped"))
    if skipped and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
