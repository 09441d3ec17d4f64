"""Figures of the engine and of this server for Prometheus: numbers alone, no names of jobs, users or folders.

Whoever asks has a token that may read, or is on this host, without a proxy between.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator
from typing import get_args

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from r2d2 import __version__
from r2d2.engine import Job, JobQuery, Jobs
from r2d2.engine.models import State
from r2d2.errors import R2D2Error

from .accounts.store import Accounts
from .area import part
from .people import bearer_person
from .permissions import Permission, needs
from .serve_settings import ServeSettings

__all__ = ["serve_metrics"]

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_BY_A_PROXY = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP")
_AT_WORK: tuple[State, ...] = ("starting", "running", "stopping")
_MOST_LISTED = 1000


def serve_metrics(app: Flask, settings: ServeSettings, jobs: Jobs, accounts: Accounts) -> None:
    """Count requests from now on, and answer ``/metrics``; before other hooks, so that what these refuse is counted.

    Args:
        app: without requests so far.
        settings: of the server.
        jobs: of the engine, all of them, whoever may see them.
        accounts: whose tokens may read.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    Gauge("r2d2_info", "version of R2D2; always 1", ["version"], registry=registry).labels(__version__).set(1)
    registry.register(_EngineCollector(settings, jobs))
    _count_requests(app, registry)

    @needs(Permission.PUBLIC)  # it looks itself
    @part
    def metrics() -> Response:
        if not (_is_near(settings) or _may_read(accounts)):
            words = "send a token that may read: the header 'Authorization: Bearer TOKEN'\n"
            return Response(words, 401, {"WWW-Authenticate": "Bearer"}, mimetype="text/plain")
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)

    app.add_url_rule("/metrics", view_func=metrics)


def _is_near(settings: ServeSettings) -> bool:
    """Whether a program of this host asks, itself: not for somebody else, as a proxy does."""
    if settings.proxies or any(name in request.headers for name in _BY_A_PROXY):
        return False
    try:
        return ipaddress.ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False


def _may_read(accounts: Accounts) -> bool:
    person = bearer_person(accounts)
    return person is not None and person.may(Permission.READ)


def _count_requests(app: Flask, registry: CollectorRegistry) -> None:
    """Count by route, as addresses hold numbers of jobs and names."""
    words = ["method", "route"]
    count = Counter("r2d2_requests", "requests that were answered", [*words, "status"], registry=registry)
    took = Histogram("r2d2_request_seconds", "time to answer", words, registry=registry, buckets=BUCKETS_S)

    def begin() -> None:
        g.begun = time.perf_counter()

    def end(response: Response) -> Response:
        route = (request.method if request.endpoint else "any", request.endpoint or "none")
        count.labels(*route, str(response.status_code)).inc()
        if "begun" in g:
            took.labels(*route).observe(time.perf_counter() - g.begun)
        return response

    app.before_request(begin)
    app.after_request(end)


class _EngineCollector(Collector):
    """Asks the engine whenever it is asked."""

    def __init__(self, settings: ServeSettings, jobs: Jobs) -> None:
        self._settings, self._jobs = settings, jobs

    def collect(self) -> Iterator[Metric]:
        """Give what there is: of an engine that does not answer, that it does not."""
        try:
            found = list(self._of_jobs())
        except R2D2Error:
            found = []
        yield GaugeMetricFamily("r2d2_engine_up", "whether the engine answers", float(bool(found)))
        yield from found

    def _of_jobs(self) -> Iterator[Metric]:
        by_state = GaugeMetricFamily("r2d2_jobs", "jobs by their state", labels=["state"])
        for state in get_args(State):
            by_state.add_metric([state], self._jobs.list(JobQuery(states=(state,), limit=1)).total)
        yield by_state
        oldest = self._jobs.list(JobQuery(states=("queued",), sort="submitted_at", descending=False, limit=1)).jobs
        waits = max(time.time() - oldest[0].submitted_at, 0.0) if oldest else 0.0
        yield GaugeMetricFamily("r2d2_queue_seconds", "since the oldest job that waits was submitted", waits)
        workers = sum(job.workers for job in self._at_work())
        yield GaugeMetricFamily("r2d2_workers", "processes that jobs at work have", workers)
        yield GaugeMetricFamily("r2d2_max_jobs", "jobs that run at a time", self._settings.max_jobs)
        if self._settings.max_workers is not None:
            most = self._settings.max_workers
            yield GaugeMetricFamily("r2d2_max_workers", "processes that jobs may have at work together", most)

    def _at_work(self) -> tuple[Job, ...]:
        return self._jobs.list(JobQuery(states=_AT_WORK, limit=_MOST_LISTED)).jobs
