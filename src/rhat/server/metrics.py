"""Prometheus metrics of one server, in a registry of its own."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
SCALED = tuple(
    round(-1 + step / 10, 1) for step in range(31)
)  # projections, from one gap below the harmless mean upwards


class Metrics:
    """Counters and timings; names begin with rhat_."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("rhat_requests", "Requests answered.", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "rhat_request_seconds",
            "Seconds until a request was answered.",
            ["path"],
            buckets=SECONDS,
            registry=registry,
        )
        self.first_token = Histogram(
            "rhat_first_token_seconds", "Seconds from arrival to the first token.", buckets=SECONDS, registry=registry
        )
        self.tokens = Counter(
            "rhat_tokens", "Tokens processed: of prompts, and generated.", ["kind"], registry=registry
        )
        self.step_seconds = Histogram(
            "rhat_step_seconds", "Seconds of a decoding step of the whole batch.", buckets=SECONDS, registry=registry
        )
        self.finished = Counter("rhat_answers", "Answers, by why they ended.", ["reason"], registry=registry)
        self.interventions = Counter("rhat_interventions", "Answers under an intervention.", ["op"], registry=registry)
        self.flagged = Counter("rhat_moderations", "Moderated texts.", ["flagged"], registry=registry)
        self.projections = Histogram(
            "rhat_moderation_projection",
            "Projections of moderated texts: 0 the mean of harmless training prompts, 1 that of harmful ones.",
            ["direction"],
            buckets=SCALED,
            registry=registry,
        )
        self.evidence = Gauge(
            "rhat_moderation_evidence",
            "Decimal logarithm of the evidence that moderated texts no longer look like the harmless calibration prompts.",
            ["direction"],
            registry=registry,
        )
        self.alarm = Gauge(
            "rhat_moderation_alarm",
            "1 since that evidence reached 100 to 1, which happens to at most 1 % of servers whose traffic looks so for ever.",
            ["direction"],
            registry=registry,
        )
        self.active = Gauge("rhat_active_answers", "Answers being written.", registry=registry)
        self.waiting = Gauge("rhat_waiting_answers", "Answers waiting for a slot.", registry=registry)

    def watch(self, active: Callable[[], float], waiting: Callable[[], float]) -> None:
        """Ask for the gauges' values when they are read."""
        self.active.set_function(active)
        self.waiting.set_function(waiting)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)
