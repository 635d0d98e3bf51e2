"""A verdict names a rule there is, carries its figure, and says what to do unless all is well."""

from __future__ import annotations

import pytest

from zsr_core.audit.rules import RULES
from zsr_core.audit.verdict import Verdict, worst
from zsr_core.codec import ConfigError, from_plain, to_plain


def _verdict(status: str) -> Verdict:
    return Verdict(rule="G19", status=status, figure="11.32 points", advice="Report the worst case.")  # type: ignore[arg-type]


def test_the_rules_are_g01_to_g27_in_order_and_each_is_one_sentence() -> None:
    assert list(RULES) == [f"G{i:02d}" for i in range(1, 28)]
    assert all(rule.text.endswith(".") and ". " not in rule.text for rule in RULES.values())


def test_a_verdict_carries_its_rules_text_and_survives_the_codec() -> None:
    verdict = _verdict("FAIL")
    assert verdict.text == RULES["G19"].text
    assert from_plain(Verdict, to_plain(verdict)) == verdict


def test_the_worst_of_verdicts_is_the_gravest_and_nothing_tested_is_no_pass() -> None:
    assert worst([_verdict("PASS"), _verdict("WARN"), _verdict("SKIP")]) == "WARN"
    assert worst([_verdict("SKIP"), _verdict("PASS")]) == "PASS"
    assert worst([_verdict("FAIL"), _verdict("WARN")]) == "FAIL"
    assert worst([]) == "SKIP"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rule": "G91"}, "rule: unknown value 'G91'"),
        ({"status": "OK"}, "status: unknown value 'OK'"),
        ({"figure": ""}, "figure: got ''"),
        ({"advice": ""}, "one sentence on what to do about a FAIL"),
    ],
)
def test_a_verdict_that_says_too_little_is_refused(fields: dict[str, str], words: str) -> None:
    whole = {"rule": "G19", "status": "FAIL", "figure": "11.32 points", "advice": "Report the worst case."}
    with pytest.raises(ConfigError, match=words):
        Verdict(**{**whole, **fields})  # type: ignore[arg-type]
