"""The results of many days: collected from what a Map wrote, joined by a run's word, and cut to fit."""

from __future__ import annotations

import json

import pytest

from orchestration.handlers.results import DAYS_AT_ONCE, MOST_BYTES, fitting, handler, named
from tests.orchestration.conftest import EVENT, Account

REQUEST = {**EVENT, "reprocess": False, "repair_stale": False, "environment": "dev"}
DAYS = tuple(f"2025-09-{n:02d}" for n in range(1, 31))


def entry(ds: str, status: str = "PUBLISHED", **more: object) -> dict:
    day = {"ds": ds, "status": status, "engine": "dask", "fallback": False, "rows": 5, "bytes": 9, "files": 1}
    return {
        "day": day | more,
        "glueRunIds": ["jr_" + "0" * 64],
        "transformed": True,
        "catalogArgs": {"--a": "b"},
    }


def collected(account: Account, entries: list[dict], failed: list[dict] = (), wanted=DAYS, **request: object):
    """What the Lambda answers to a Map's files: two children in each, in no order."""
    bucket, folder = account.bucket.name, "artifacts/market/prices/_runs/days/run"
    told = {
        "SUCCEEDED": [{"Output": json.dumps(one), "Input": "{}"} for one in reversed(entries)],
        "FAILED": failed,
        "PENDING": [],
    }
    files: dict[str, list[dict]] = {}
    for kind, children in told.items():
        for n in range(0, len(children), 2):
            key = f"{folder}/{kind}_{n // 2}.json"
            account.store.put(key, json.dumps(children[n : n + 2]).encode())
            files.setdefault(kind, []).append({"Key": key, "Size": 1})
    account.store.put(f"{folder}/manifest.json", json.dumps({"ResultFiles": files}).encode())
    event = {"collect": {"Bucket": bucket, "Key": f"{folder}/manifest.json"}, "wanted": list(wanted)}
    return handler({**event, "request": {**REQUEST, **request}, "execution": "e-1"}, None)


def days_of(answer: dict) -> dict[str, str]:
    return {one["day"]["ds"]: one["day"]["status"] for one in answer["days"]}


# -- collect ---------------------------------------------------------------------------------------


def test_every_wanted_day_is_there_in_its_order_though_a_child_failed_or_left_nothing(account):
    first, second, third, fourth = DAYS[:4]
    failed = [
        {"Input": json.dumps({"ds": second}), "Error": "States.Runtime", "Cause": "JSONata: oh", "Name": "x"}
    ]
    answer = collected(account, [entry(third), entry(first)], failed, DAYS[:4])
    assert days_of(answer) == {first: "PUBLISHED", second: "FAILED", third: "PUBLISHED", fourth: "FAILED"}
    found = {one["day"]["ds"]: one["day"] for one in answer["days"]}
    assert (found[second]["error"], found[second]["cause"]) == ("States.Runtime", "JSONata: oh")
    assert found[fourth]["cause"] == "The day left no result."
    (chunk,) = answer["chunks"]
    assert chunk["days"] == [first, third]


def test_indicators_take_every_published_day_from_the_first_that_was_transformed_on(account):
    entries = [
        entry(DAYS[0], "SKIPPED", reason="IDEMPOTENT_SKIP"),
        entry(DAYS[1], "UNCHANGED"),
        entry(DAYS[2], "SKIPPED", reason="IDEMPOTENT_SKIP"),
        entry(DAYS[3], "EMPTY"),
        entry(DAYS[4], "FAILED", error="DQ_FAILED", cause="x", step="transform"),
        entry(DAYS[5]),
    ]
    (chunk,) = collected(account, entries, wanted=DAYS[:6])["chunks"]
    assert chunk["days"] == [DAYS[1], DAYS[2], DAYS[5]]
    words = chunk["indicators_args"]
    assert (words["--ds"], words["--days"]) == (DAYS[1], ",".join(chunk["days"]))
    assert words["--result_uri"] == chunk["result_uri"]
    assert chunk["result_uri"].endswith(f"/market/prices/_runs/indicators/e-1-{DAYS[1]}.json")
    assert "--repair_stale" not in words
    assert all(isinstance(value, str) for value in words.values())


def test_without_a_transformed_day_there_is_nothing_to_do_unless_stale_days_are_to_be_repaired(account):
    entries = [entry(ds, "SKIPPED", reason="IDEMPOTENT_SKIP") for ds in DAYS[:2]]
    assert collected(account, entries, wanted=DAYS[:2])["chunks"] == []
    (chunk,) = collected(account, entries, wanted=DAYS[:2], repair_stale=True)["chunks"]
    assert (chunk["days"], chunk["indicators_args"]["--repair_stale"]) == (list(DAYS[:2]), "true")
    assert collected(account, [entry(DAYS[0])], wanted=DAYS[:1], table_name="indicators")["chunks"] == []


def test_many_days_are_runs_one_after_the_other_and_the_last_repairs(account):
    wanted = [f"2025-{month:02d}-{day:02d}" for month in (1, 3, 5) for day in range(1, 32)]
    answer = collected(account, [entry(ds) for ds in wanted], wanted=wanted, repair_stale=True)
    chunks = answer["chunks"]
    assert [ds for chunk in chunks for ds in chunk["days"]] == wanted
    assert max(len(chunk["days"]) for chunk in chunks) == DAYS_AT_ONCE
    assert ["--repair_stale" in chunk["indicators_args"] for chunk in chunks] == [False, False, True]


# -- settle ----------------------------------------------------------------------------------------


def settled(account: Account, entries: list[dict], document: dict | None, run: dict) -> dict:
    uri = f"{account.bucket.url}/artifacts/run.json"
    if document is not None:
        account.store.put("artifacts/run.json", json.dumps(document).encode())
    chunk = {"days": [one["day"]["ds"] for one in entries[:3]], "result_uri": uri, "indicators_args": {}}
    return handler({"settle": chunk, "days": entries, "run": run}, None)


def test_what_a_run_says_of_its_days_is_put_into_their_results(account, capsys):
    entries = [
        entry(DAYS[0]),
        entry(DAYS[1], "SKIPPED", reason="IDEMPOTENT_SKIP"),
        entry(DAYS[2]),
        entry(DAYS[3]),
    ]
    document = {
        "days": [
            {"ds": DAYS[0], "status": "PUBLISHED", "repaired": False},
            {"ds": DAYS[1], "status": "PUBLISHED", "repaired": False},
            {"ds": DAYS[2], "status": "FAILED", "error": "DataQualityFailed", "cause": "DQ_FAILED: 3 of 5"},
            {"ds": DAYS[9], "status": "PUBLISHED", "repaired": True},
        ],
        "stale": [{"ds": DAYS[8], "reason": f"changed since: {DAYS[0]}"}],
    }
    answer = settled(account, entries, document, {"id": "jr_1"})
    found = {one["day"]["ds"]: one for one in answer["days"]}
    assert (found[DAYS[0]]["day"]["status"], found[DAYS[0]]["day"]["indicators"]) == (
        "PUBLISHED",
        "PUBLISHED",
    )
    assert found[DAYS[0]]["glueRunIds"][-1] == "jr_1"
    assert found[DAYS[1]]["day"]["status"] == "UNCHANGED"  # it was done, and is no longer skipped
    failed = found[DAYS[2]]["day"]
    assert (failed["status"], failed["error"], failed["step"]) == ("FAILED", "DQ_FAILED", "indicators")
    assert found[DAYS[3]] == entries[3]
    assert found[DAYS[9]]["day"]["reason"] == "its indicators were stale"
    assert answer["stale"] == document["stale"]
    assert DAYS[8] in capsys.readouterr().out  # in the log, too


@pytest.mark.parametrize("document", [None, {"days": [{"ds": DAYS[0], "status": "UNCHANGED"}], "stale": []}])
def test_days_that_a_run_did_not_reach_fail_by_what_ended_it(account, document):
    cause = {
        "ErrorMessage": "Error Category: UNCLASSIFIED_ERROR; Failed Line Number: 9; StoreError: GET failed."
    }
    run = {"error": "States.TaskFailed", "cause": json.dumps(cause)}
    answer = settled(account, [entry(ds) for ds in DAYS[:3]], document, run)
    days = [one["day"] for one in answer["days"]]
    reached = bool(document)
    assert [day["status"] for day in days] == ["PUBLISHED" if reached else "FAILED", "FAILED", "FAILED"]
    assert {(day["error"], day["cause"]) for day in days[reached:]} == {
        ("StoreError", "StoreError: GET failed.")
    }


@pytest.mark.parametrize(
    ("error", "cause", "expected"),
    [
        ("States.Timeout", "", ("States.Timeout", "")),
        ("Glue.EntityNotFoundException", "no such job", ("Glue.EntityNotFoundException", "no such job")),
        ("States.TaskFailed", "{not json}", ("States.TaskFailed", "{not json}")),
        ("DataQualityFailed", "DQ_FAILED: x", ("DQ_FAILED", "DQ_FAILED: x")),
    ],
)
def test_an_error_keeps_the_name_that_tells_most(error, cause, expected):
    assert named(error, cause) == expected


# -- what fits ---------------------------------------------------------------------------------------


def test_a_thousand_days_fit_between_two_states_and_each_keeps_its_day_status_and_error():
    entries = [entry(f"{2000 + n // 300}-{n % 300:03d}") for n in range(600)]
    entries += [
        entry(f"2040-{n:03d}", "FAILED", error="DQ_FAILED", cause="c" * 300, step="transform")
        for n in range(400)
    ]
    kept = fitting(entries)
    assert len(json.dumps(kept).encode()) <= MOST_BYTES + 100_000
    assert len(json.dumps(kept).encode()) < 256 * 1024
    assert [one["day"]["ds"] for one in kept] == [one["day"]["ds"] for one in entries]
    assert [one["day"]["status"] for one in kept] == [one["day"]["status"] for one in entries]
    assert kept[-1]["day"]["error"] == "DQ_FAILED"
    assert fitting(entries[:20]) == entries[:20]


def test_a_backfill_of_hundreds_of_days_passes_256_kib_and_is_collected(account):
    wanted = [
        f"{year}-{month:02d}-{day:02d}"
        for year in (2023, 2024)
        for month in range(1, 13)
        for day in range(1, 29)
    ]
    entries = [entry(ds, "FAILED", error="X", cause="c" * 300, step="transform") for ds in wanted]
    assert sum(len(json.dumps(one)) for one in entries) > 256 * 1024
    answer = collected(account, entries, wanted=wanted)
    assert list(days_of(answer)) == wanted
    assert len(json.dumps(answer).encode()) < 256 * 1024
