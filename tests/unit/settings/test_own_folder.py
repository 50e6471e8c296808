"""Environments and tables of the user's own: where they are looked for, and that they hide shipped ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from briquette.errors import ConfigError, SchemaError
from briquette.schemas.declared import load_table, table_names
from briquette.settings.environments import environment_names, load_environment
from briquette.shipped import shipped

DEV = (shipped("environments") / "dev.toml").read_text(encoding="utf-8")
SHIPPED = ("dev", "prod", "staging")
OURS = "shipped environments/dev.toml"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no variable that names a folder."""
    monkeypatch.delenv("BRIQUETTE_CONFIG", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def environment(folder: Path, name: str, codec: str) -> None:
    (folder / "environments").mkdir(parents=True, exist_ok=True)
    lines = [line for line in DEV.splitlines() if not line.startswith("compaction_codec")]
    text = "\n".join([*lines, f'compaction_codec = "{codec}"'])
    (folder / f"environments/{name}.toml").write_text(text)


def table(folder: Path, name: str, column: str) -> None:
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    (folder / f"tables/{name}.toml").write_text(f'[columns]\n{column} = "int64"\n')


def columns(name: str) -> list[str]:
    return [field.name for field in load_table(name).schema.fields]


def test_without_a_folder_of_ones_own_the_shipped_files_are_taken(here: Path) -> None:
    assert environment_names() == SHIPPED
    assert load_environment("dev", env={}).origin("engine") == OURS
    assert table_names() == ("market.prices",)


def test_the_folder_config_of_the_working_directory_comes_first(here: Path) -> None:
    environment(here / "config", "dev", "gzip")
    environment(here / "config", "lab", "lz4")
    table(here / "config", "shop.orders", "order_id")
    assert environment_names() == ("dev", "lab", "prod", "staging")
    dev = load_environment("dev", env={})
    assert (dev.compaction_codec, dev.origin("compaction_codec")) == ("gzip", "config/environments/dev.toml")
    assert load_environment("prod", env={}).origin("region") == "shipped environments/prod.toml"
    assert table_names() == ("market.prices", "shop.orders")
    assert columns("shop.orders") == ["order_id"]


def test_the_folder_that_the_variable_names_comes_before_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(here / "config", "dev", "gzip")
    mine = here.parent / "mine"
    environment(mine, "dev", "snappy")
    table(mine, "market.prices", "mine")
    monkeypatch.setenv("BRIQUETTE_CONFIG", str(mine))
    dev = load_environment("dev", env={"BRIQUETTE_CONFIG": str(mine)})
    where = f"{mine}/environments/dev.toml"
    assert (dev.compaction_codec, dev.origin("compaction_codec")) == ("snappy", where)
    assert columns("market.prices") == ["mine"]


def test_an_environment_of_ones_own_hides_the_shipped_one_as_a_whole(here: Path) -> None:
    (here / "config/environments").mkdir(parents=True)
    (here / "config/environments/dev.toml").write_text('engine = "dask"\n')
    with pytest.raises(ConfigError, match="'dev' does not say"):
        load_environment("dev", env={})


@pytest.mark.parametrize("name", ["__init__.py", "settings.toml", "environments/dev.yaml", "tables/x"])
def test_a_folder_config_without_such_files_is_nobody_of_ours(here: Path, name: str) -> None:
    (here / "config" / name).parent.mkdir(parents=True)
    (here / "config" / name).write_text("not ours")
    assert load_environment("dev", env={}).origin("engine") == OURS
    assert (environment_names(), table_names()) == (SHIPPED, ("market.prices",))


@pytest.mark.parametrize("made", [False, True])
def test_a_variable_that_names_no_such_folder_is_an_error(
    here: Path, monkeypatch: pytest.MonkeyPatch, made: bool
) -> None:
    folder = here / "elsewhere"
    if made:
        folder.mkdir()
    monkeypatch.setenv("BRIQUETTE_CONFIG", str(folder))
    with pytest.raises(ConfigError, match="neither a folder environments nor a folder tables"):
        load_environment("dev", env={"BRIQUETTE_CONFIG": str(folder)})
    with pytest.raises(ConfigError, match="elsewhere"):
        load_table("market.prices")


def test_an_empty_variable_counts_as_unset(here: Path) -> None:
    environment(here / "config", "dev", "gzip")
    assert load_environment("dev", env={"BRIQUETTE_CONFIG": ""}).compaction_codec == "gzip"


def test_errors_name_the_file_that_is_wrong(here: Path) -> None:
    environment(here / "config", "dev", "zip")
    table(here / "config", "shop.orders", "order id")
    (here / "config" / "tables/shop.orders.toml").write_text("[columns]\na = 'number'\n")
    with pytest.raises(ConfigError, match=r"^config/environments/dev\.toml: compaction_codec = 'zip'"):
        load_environment("dev", env={})
    with pytest.raises(SchemaError, match=r"^config.tables/shop\.orders\.toml"):
        load_table("shop.orders")
