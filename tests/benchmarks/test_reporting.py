"""What benchmarks compute and say of themselves."""

from __future__ import annotations

import json
import math

import pytest

from benchmarks.http_load import Samples
from benchmarks.reporting import Claim, finish, percentile, rate, ratio, spread, table


def test_a_percentile_lies_between_its_neighbours_by_its_share():
    values = [40.0, 10.0, 30.0, 20.0]
    assert percentile(values, 0.5) == 25.0
    assert percentile(values, 0.95) == pytest.approx(38.5)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 3.0), (1.0, 9.0)])
def test_the_outermost_percentiles_are_the_outermost_values(share, expected):
    assert percentile([9.0, 3.0, 5.0], share) == expected


def test_one_value_is_every_percentile():
    assert {percentile([7.0], share) for share in (0.0, 0.5, 0.95, 1.0)} == {7.0}


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 1.1), ([1.0], -0.1)])
def test_a_percentile_of_nothing_is_an_error_and_no_number(values, share):
    with pytest.raises(ValueError, match="percentile"):
        percentile(values, share)


def test_a_rate_is_over_the_time_of_all_rounds_and_not_a_mean_of_rates():
    assert rate(30, [1.0, 5.0]) == 5.0


def test_without_time_or_baseline_there_is_no_figure():
    with pytest.raises(ValueError, match="time"):
        rate(3, [])
    with pytest.raises(ValueError, match="baseline"):
        ratio(3.0, 0.0)


def test_the_spread_shows_the_outermost_rounds():
    assert spread([3.26, 1.04, 2.0]) == "1.0..3.3"


def test_a_claim_is_judged_in_its_own_direction():
    assert Claim("added", 14.2, "ms", 15).line() == "added: 14.2 ms (aim <= 15) ok"
    assert Claim("added", 21.0, "ms", 15).line() == "added: 21 ms (aim <= 15) short"
    assert Claim("rate", 0.93, "x", 0.9, at_least=True).line() == "rate: 0.93 x (aim >= 0.9) ok"
    assert Claim("rate", 0.81, "x", 0.9, at_least=True).line().endswith("short")


def test_rounding_does_not_carry_a_claim_over_its_aim():
    claim = Claim("rate", 0.8996, "x", 0.9, at_least=True)
    assert not claim.met


@pytest.mark.parametrize("at_least", [True, False])
def test_a_figure_that_is_no_number_reaches_no_aim(at_least):
    assert not Claim("rate", math.nan, "x", 0.9, at_least=at_least).met


def test_one_claim_that_falls_short_fails_the_run_and_is_the_last_thing_said(capsys):
    claims = [Claim("good", 1.0, "s", 2.0), Claim("bad", 3.0, "s", 2.0)]
    assert finish([{"side": "ours", "s": 1.0}], claims, as_json=False) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "bad: 3 s (aim <= 2) short"


def test_claims_that_all_hold_pass(capsys):
    assert finish([{"s": 1.0}], [Claim("good", 1.0, "s", 2.0)], as_json=False) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("ok")


def test_a_script_reads_the_same_verdict_from_json(capsys):
    claims = [Claim("bad", 3.0, "s", 2.0)]
    assert finish([{"side": "ours", "s": 1.0}], claims, notes=["noisy"], as_json=True) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["rows"] == [{"side": "ours", "s": 1.0}]
    assert result["notes"] == ["noisy"]
    assert result["claims"][0]["met"] is False
    assert result["machine"]


def test_a_table_lines_its_columns_up():
    text = table([{"side": "ours", "per s": 12345.6}, {"side": "theirs", "per s": 0.0123}])
    assert text.splitlines() == ["  side   per s", "  ours  12,346", "theirs  0.0123"]


def test_a_degraded_answer_stops_a_measurement_that_would_flatter():
    answer = {"answer": "a", "answered": True, "degraded": ["extractive"]}
    with pytest.raises(RuntimeError, match="extractive"):
        Samples().add("q", answer | {"usage": {"completion_tokens": 1}})
