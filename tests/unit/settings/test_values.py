"""What a text means as a value, by one rule for every door."""

from __future__ import annotations

import pytest

from briquette.aws.container_command import parse
from briquette.aws.glue_arguments import Argument, parse_arguments
from briquette.encoding.row_groups import CODECS as WRITTEN
from briquette.errors import UsageError
from briquette.planning.spec import CODECS
from briquette.settings.values import flag, number, one_of, parse_bytes, positive, whole

ODD = [
    "",
    " ",
    "x",
    "nan",
    "NaN",
    "inf",
    "-inf",
    "1e999",
    "1_000",
    "1 000",
    "1,5",
    "\u0661",
    "0x10",
    "--1",
    "1e",
    ".",
]


@pytest.mark.parametrize("text", ODD)
def test_what_is_no_number_is_refused_by_every_kind(text: str) -> None:
    for kind, means in ((number, "a number"), (positive, "a number"), (whole, "a whole number")):
        with pytest.raises(ValueError, match=f"^{means}$"):
            kind(text)
    with pytest.raises(UsageError, match="is not a size"):
        parse_bytes(text)


def test_numbers_are_read_as_they_are_written() -> None:
    assert [number(t) for t in ("1", "-1.5", "+2", ".5", "5.", "1e-3", "0")] == [1, -1.5, 2, 0.5, 5, 0.001, 0]
    assert [whole(t) for t in ("0", "-7", "+7", "007")] == [0, -7, 7, 7]
    assert [parse_bytes(t) for t in ("7", "1kB", " 1.5 MiB ", "2gb")] == [7, 1_000, 1_572_864, 2 * 10**9]
    for refused in ("0", "-1"):
        with pytest.raises(ValueError, match="above 0"):
            positive(refused)
    with pytest.raises(ValueError, match="a whole number"):
        whole("1.0")


def test_flags_and_words() -> None:
    assert [flag(t) for t in ("true", "TRUE", "1", "false", "0")] == [True, True, True, False, False]
    for text in ("yes", "", "2", " true"):
        with pytest.raises(ValueError, match="true or false"):
            flag(text)
    assert one_of(str, ("A", "B"))("B") == "B"
    with pytest.raises(ValueError, match="one of A, B"):
        one_of(str, ("A", "B"))("a")


@pytest.mark.parametrize("text", ["nan", "1_0", "x"])
def test_two_doors_refuse_the_same_text(text: str) -> None:
    with pytest.raises(UsageError, match=r"--size is .*; it must be a number"):
        parse_arguments(["--size", text], [Argument("size", positive)])
    with pytest.raises(UsageError, match=f"--target-file-mb: '{text}' is not a number"):
        parse(["compact", "--plan-uri", "p", "--target-file-mb", text])
    with pytest.raises(UsageError, match=f"--threads: '{text}' is not a whole number"):
        parse(["compact", "--plan-uri", "p", "--threads", text])


def test_the_codecs_that_can_be_asked_for_are_those_that_are_written() -> None:
    assert tuple(WRITTEN) == CODECS
