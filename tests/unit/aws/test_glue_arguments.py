"""A Glue job's arguments: exact names, typed, every error says which argument and what it must be."""

from __future__ import annotations

import pytest

from briquette.aws.glue_arguments import Argument, parse_arguments
from briquette.errors import UsageError
from briquette.settings.values import flag, number, one_of, positive, whole

WANTED = (
    Argument("JOB_NAME", required=True),
    Argument("ds", required=True),
    Argument("rows", whole, default=7),
    Argument("ratio", number, default=None),
    Argument("size", positive, default=1.0),
    Argument("force", flag, default=False),
    Argument("mode", one_of(str, ("keep", "drop")), default="keep"),
)
GIVEN = ("--JOB_NAME", "job", "--ds", "2025-09-09")


def test_both_spellings_and_the_defaults():
    found = parse_arguments([*GIVEN, "--rows=12", "--force", "TRUE", "--ratio", "-1.5e2"], WANTED)
    assert dict(found.values) == {
        "JOB_NAME": "job",
        "ds": "2025-09-09",
        "rows": 12,
        "ratio": -150.0,
        "size": 1.0,
        "force": True,
        "mode": "keep",
    }


def test_a_value_may_hold_an_equals_sign_and_be_another_name_s_text():
    found = parse_arguments(["--JOB_NAME", "a=b", "--ds=interval=1d/ds=x"], WANTED)
    assert (found["JOB_NAME"], found["ds"]) == ("a=b", "interval=1d/ds=x")


def test_the_last_of_a_name_counts_as_for_argparse():
    assert parse_arguments([*GIVEN, "--ds", "2025-09-10"], WANTED)["ds"] == "2025-09-10"


def test_all_missing_arguments_are_named_at_once():
    with pytest.raises(UsageError, match=r"lack --JOB_NAME, --ds\."):
        parse_arguments(["--rows", "1"], WANTED)


@pytest.mark.parametrize("empty", [["--ds", ""], ["--ds="], ["--ds"], ["--ds", "--rows", "1"]])
def test_an_empty_value_is_a_missing_one(empty):
    with pytest.raises(UsageError, match=r"lack --ds\."):
        parse_arguments(["--JOB_NAME", "job", *empty], WANTED)


@pytest.mark.parametrize("short", ["--d", "--JOB", "--D"])
def test_abbreviations_do_not_count(short):
    with pytest.raises(UsageError, match="names in full"):
        parse_arguments([short, "x"], WANTED)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("rows", "1.5", "a whole number"),
        ("ratio", "much", "a number"),
        ("ratio", "nan", "a number"),
        ("size", "0", "a number above 0"),
        ("size", "inf", "a number"),
        ("force", "yes", "true or false"),
        ("mode", "KEEP", "one of keep, drop"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_with_what_it_must_be(name, text, said):
    with pytest.raises(UsageError) as caught:
        parse_arguments([*GIVEN, f"--{name}", text], WANTED)
    assert caught.value.message == f"--{name} is {text!r}; it must be {said}."


def test_what_glue_adds_is_passed_over_and_what_nobody_knows_is_named():
    glue = ["--TempDir", "s3://t/", "--job-language", "python", "--extra-py-files", "s3://w.whl"]
    flags = ["--enable-metrics", "--enable-glue-datacatalog", "true", "--JOB_RUN_ID", "jr_1"]
    found = parse_arguments([*GIVEN, *glue, *flags, "--max_reject_ration", "0.5"], WANTED)
    assert found.ignored == ("max_reject_ration",)
    assert dict(found.resolved) == {"JOB_NAME": "job", "ds": "2025-09-09"}
