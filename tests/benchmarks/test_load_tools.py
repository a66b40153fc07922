"""The load tool's summary, the questions and the chart."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from benchmarks import k6
from benchmarks.chart import bars, draw

SVG = "{http://www.w3.org/2000/svg}"


def summary(**changes: object) -> dict[str, object]:
    took = {"count": 40, "med": 10.0, "p(95)": 20.0, "p(99)": 30.0, "max": 31.0}
    metrics = {
        "took": {"values": took},
        "first_byte": {"values": {"med": 9.0}},
        "failed": {"values": {"passes": 2, "fails": 40, "rate": 2 / 42}},
        "tokens": {"values": {"count": 1280}},
    }
    return {"metrics": metrics | changes, "state": {"testRunDurationMs": 4000.0}}


def test_only_good_answers_count_as_answered():
    found = k6.outcome(summary(), cpu_s=1.0, served_cpu_s=2.0)
    assert (found.requests, found.failed) == (40, 2)
    assert found.per_second == 10.0
    assert found.tokens_per_second == 320.0
    assert found.cpu_ms == 50.0


def test_a_request_that_no_client_could_begin_has_failed():
    dropped = {"values": {"count": 5}}
    assert k6.outcome(summary(dropped_iterations=dropped), cpu_s=1.0, served_cpu_s=2.0).failed == 7


def test_a_run_without_a_good_answer_has_no_result():
    broken = summary()
    del broken["metrics"]["took"]
    with pytest.raises(RuntimeError, match="no request"):
        k6.outcome(broken, cpu_s=1.0, served_cpu_s=2.0)


def row(system: str, rate: float, **changes: object) -> dict[str, object]:
    return {
        "system": system,
        "asked for": "search",
        "how": "hybrid <default>",
        "c": 32,
        "req/s": rate,
        "p50 ms": 1000 / rate,
        "failed": 0,
    } | changes


def test_a_chart_shows_the_fastest_first_and_at_one_number_of_clients():
    rows = [row("OGX", 100.0), row("ragserve", 250.0), row("ragserve", 900.0, c=8)]
    assert [bar.system for bar in bars(rows, "search")] == ["ragserve", "OGX"]
    drawn = ElementTree.fromstring(draw({"rows": rows, "machine": "a machine"}))
    lengths = [float(bar.get("width", "0")) for bar in drawn.iter(f"{SVG}rect")][1:]
    assert lengths[0] == pytest.approx(2.5 * lengths[1], rel=0.01)
    texts = ["".join(text.itertext()) for text in drawn.iter(f"{SVG}text")]
    assert any("hybrid <default>" in text for text in texts)
    assert any("250/s" in text for text in texts)


def test_a_chart_does_not_hide_failures():
    assert "7 failed" in draw({"rows": [row("OGX", 10.0, failed=7)], "machine": ""})


def test_there_is_no_chart_of_nothing():
    with pytest.raises(ValueError, match="32 clients"):
        draw({"rows": [row("OGX", 10.0, c=8)], "machine": ""})
