"""`briquette infer` as a person calls it: warnings on stderr and in the document, and how it ends."""

from __future__ import annotations

from tests.flow.test_cli import briquette, document


def land(folder, **objects: str) -> None:
    folder.mkdir()
    for name, text in objects.items():
        (folder / name.replace("_", ".")).write_text(text)


def test_warnings_stand_on_stderr_and_in_the_document(tmp_path):
    land(tmp_path / "raw", a_csv="ann,10\nbob,20\ncy\n")
    shown = briquette("infer", "--input", tmp_path / "raw")
    assert shown.returncode == 0, shown.stderr
    assert "[columns]" in shown.stdout
    assert "warning: 1 of 2 records are rejects" in shown.stderr
    assert "warning: a.csv: its first record looks like data, not like a header" in shown.stderr
    quiet = briquette("infer", "--input", tmp_path / "raw", "--json")
    found = document(quiet)
    assert (found["objects"], found["records"], found["rejects"], found["left_out"]) == (1, 2, 1, [])
    assert [f"warning: {warning}" for warning in found["warnings"]] == quiet.stderr.splitlines()


def test_all_rejected_ends_with_5_and_writes_no_schema(tmp_path):
    land(tmp_path / "raw", a_csv='Country;Count\nChina;"1",5\nItaly;"2",5\n')
    done = briquette("infer", "--input", tmp_path / "raw", "--out", tmp_path / "s.toml")
    assert done.returncode == 5
    assert "all 2 records are rejects" in done.stderr
    assert "separated by ';'" in done.stderr
    assert not (tmp_path / "s.toml").exists()
    land(tmp_path / "json", a_json="1\n[2\n")
    done = briquette("infer", "--input", tmp_path / "json", "--json")
    assert done.returncode == 5
    assert document(done)["error"]["name"] == "RejectLimitExceeded"


def test_an_object_whose_name_no_key_may_have_is_a_reject_of_infer_too(tmp_path):
    land(tmp_path / "raw", a_json='{"a": 1}\n')
    (tmp_path / "raw" / "b\nc.json").write_text('{"b": 1}\n')
    done = briquette("infer", "--input", tmp_path / "raw")
    assert done.returncode == 0, done.stderr
    assert "b " not in done.stdout
    [line] = done.stderr.splitlines()
    assert line.startswith(
        "warning: 1 of 2 records are rejects whatever the schema is (the first: 'b\\nc.json'"
    )


def test_compact_without_a_schema_says_the_same(tmp_path):
    land(tmp_path / "raw", a_csv="x,y\n1,null\n2,3\n3,4\n4,5\n")
    done = briquette("compact", "--input", tmp_path / "raw", "--output", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert document(done)["rows"] == 4
    assert "y: string because of 1 value among 4 records of numbers" in done.stderr
    assert 'null_values = ["", "null"]' in done.stderr
