"""All that is shown of a run while it goes on, in one `with`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from platemill.observe.logs import run_log
from platemill.settings import Settings, traces_wanted

__all__ = ["observed", "recorded"]

_LOG = logging.getLogger(__name__)

_LOOPBACK: Final = "127.0.0.1"
_PORTS: Final = 10


@contextmanager
def observed(settings: Settings, run_id: str) -> Iterator[None]:
    """Keep a run's log, serve its metrics, write them and send its trace at its end.

    Nothing of it ends the run.

    Args:
        settings: the deployment's.
        run_id: the run; its folder exists.
    """
    folder = settings.runs / run_id
    with (
        run_log(folder, run_id, settings.log_format),
        recorded(settings, run_id),
        ExitStack() as live,
    ):
        if settings.metrics_port:
            _serve(settings, run_id, folder, live)
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            if traces_wanted():
                _trace(folder, run_id, error)


def _trace(folder: Path, run_id: str, error: BaseException | None) -> None:
    """Send the run's trace; whoever does not take it costs the run nothing but a moment."""
    try:
        from platemill.observe.traces import send_trace

        trace = send_trace(folder, run_id, error)
    except ImportError as missing:
        _LOG.warning("no trace was sent: %s. Install platemill[traces]", missing)
    except Exception as failure:
        _LOG.warning("no trace was sent: %s", failure)
    else:
        if trace is None:
            _LOG.warning("the collector of traces did not take all of run %s", run_id)
        else:
            _LOG.info("trace %s was sent", trace)


@contextmanager
def recorded(settings: Settings, run_id: str) -> Iterator[None]:
    """Write a run's metrics at its end, however it ends."""
    succeeded = False
    try:
        yield
        succeeded = True
    finally:
        # Here, for a night that finds nothing new has no time for imports before.
        from platemill.observe.metrics import write_metrics

        try:
            write_metrics(settings.runs / run_id, run_id, settings.metrics, succeeded)
        except OSError as error:
            _LOG.warning("the metrics of run %s cannot be written: %s", run_id, error)


def _serve(settings: Settings, run_id: str, folder: Path, live: ExitStack) -> None:
    """Serve the metrics until ``live`` is left."""
    from prometheus_client import CollectorRegistry, start_http_server

    from platemill.observe.metrics import RunMetrics
    from platemill.observe.targets import published_target

    registry = CollectorRegistry()
    registry.register(RunMetrics(folder, run_id))
    first = settings.metrics_port or 0
    for port in range(first, min(first + _PORTS, 65536)):
        try:
            server, thread = start_http_server(port, _LOOPBACK, registry)
        except OSError:
            continue
        live.callback(thread.join)
        live.callback(server.server_close)
        live.callback(server.shutdown)
        address = f"{_LOOPBACK}:{port}"
        live.enter_context(published_target(settings, run_id, address, "run", run_id=run_id))
        _LOG.info("metrics at http://%s/metrics", address)
        return
    _LOG.warning(
        "the metrics of run %s are not served: ports %d to %d of loopback are taken. Set "
        "PLATEMILL_METRICS_PORT to another, or to 0",
        run_id,
        first,
        first + _PORTS - 1,
    )
