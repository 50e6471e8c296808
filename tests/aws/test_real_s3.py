"""What only the real S3 can tell: that it keeps the promises, and which words it refuses with.

`make test-aws` runs them with the usual AWS variables and BRIQUETTE_AWS_TEST_URL=s3://bucket/prefix, below
which may be written and removed; without both they are skipped. They cost a few hundred requests.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

from briquette import compact, read
from briquette.cli.demo import raw_day
from briquette.datasets.verify import verify
from briquette.errors import EXIT_REFUSED, BriquetteError, NoSuchBucket, StoreRefused
from briquette.model import Status
from briquette.storage.opening import open_store
from briquette.storage.urls import parse_url

PLACE = "BRIQUETTE_AWS_TEST_URL"
SCHEMA = "market.prices"
pytestmark = [pytest.mark.aws, pytest.mark.timeout(600)]


def why_skipped() -> str:
    """What is missing for these tests, "" for nothing."""
    if not os.environ.get(PLACE, "").startswith("s3://"):
        return f"set {PLACE}=s3://bucket/prefix, which may be written and emptied"
    import boto3

    return "" if boto3.session.Session().get_credentials() else "there are no AWS credentials"


def has_own_server() -> bool:
    return bool(os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT_URL_S3"))


@pytest.fixture
def place() -> Iterator[str]:
    """A URL of its own below the place that was given, emptied afterwards."""
    missing = why_skipped()
    if missing:
        pytest.skip(missing)
    url = f"{os.environ[PLACE].rstrip('/')}/briquette-{secrets.token_hex(8)}"
    yield url
    where = parse_url(url)
    store = open_store(where.url)
    for found in list(store.list(where.prefix)):
        store.delete(found.key)


def land(url: str, count: int) -> None:
    where = parse_url(url)
    store = open_store(where.url)
    for file in raw_day(count):
        store.put(f"{where.prefix}{file.name}", file.data)


def test_it_keeps_every_promise(place):
    from briquette.cli.doctor import examine

    [found] = examine(curated_url=place)["stores"]
    assert found["ok"], found


def test_a_day_is_published_verified_read_and_published_again(place):
    land(f"{place}/raw", 40)
    made = compact(input=f"{place}/raw", output=f"{place}/out", schema=SCHEMA)
    assert made.status is Status.PUBLISHED
    assert verify(f"{place}/out", deep=True).ok
    assert len(read(f"{place}/out").compute()) == made.manifest.rows
    assert compact(input=f"{place}/raw", output=f"{place}/out", schema=SCHEMA).status is Status.UNCHANGED
    land(f"{place}/raw", 60)
    again = compact(input=f"{place}/raw", output=f"{place}/out", schema=SCHEMA)
    assert again.status is Status.PUBLISHED
    assert again.manifest.rows > made.manifest.rows


def test_a_bucket_that_does_not_exist_is_said_to_be_so(place):
    with pytest.raises(NoSuchBucket) as caught:
        compact(input=f"s3://briquette-{secrets.token_hex(12)}/raw", output=f"{place}/out", schema=SCHEMA)
    assert caught.value.exit_code == EXIT_REFUSED


def test_a_secret_that_is_wrong_is_said_to_be_so(place, monkeypatch):
    if not os.environ.get("AWS_SECRET_ACCESS_KEY"):
        pytest.skip("the credentials are not in the environment, so they cannot be made wrong there")
    if has_own_server():
        pytest.skip("a server of its own may check no signatures")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong" * 8)
    from briquette.storage.s3.store import S3Store

    with pytest.raises(BriquetteError) as caught:
        list(S3Store(parse_url(place).url.removeprefix("s3://")).list("nothing/"))
    assert (caught.value.exit_code, caught.value.name) == (EXIT_REFUSED, "AccessDenied")


def test_the_right_region_is_named_in_the_wrong_one(place, monkeypatch):
    if has_own_server():
        pytest.skip("a server of its own has no regions")
    import boto3

    bucket = parse_url(place).url.removeprefix("s3://")
    answer = boto3.client("s3").head_bucket(Bucket=bucket)
    right = answer["ResponseMetadata"]["HTTPHeaders"]["x-amz-bucket-region"]
    monkeypatch.setenv("AWS_REGION", "eu-west-3" if right != "eu-west-3" else "eu-north-1")
    from briquette.storage.s3.store import S3Store

    with pytest.raises(StoreRefused) as caught:
        list(S3Store(bucket).list("nothing/"))
    assert f"AWS_REGION={right}" in caught.value.hint
