"""The checks of `make api` can fail: no entry, a silent docstring, a page that loads from elsewhere."""

from __future__ import annotations

import briquette
from scripts import api_reference
from scripts.docstring_examples import fenced


def silent(url: str) -> str:
    """A thing at a URL."""
    return url


def spoken(url: str) -> str:
    """A thing at a URL. Returns it; raises ``NotFound``."""
    return url


def answered(url: str) -> CompactionResult:  # noqa: F821 - a public type, by name
    """A thing at a URL; raises ``NotFound``."""


def test_a_public_function_says_what_it_returns_and_raises() -> None:
    assert list(api_reference.says_too_little("spoken", spoken)) == []
    assert list(api_reference.says_too_little("answered", answered)) == []
    said = list(api_reference.says_too_little("silent", silent))
    assert said == [f"briquette.silent does not say what it {verb}s." for verb in ("return", "raise")]
    assert list(api_reference.says_too_little("bare", lambda: None)) == ["briquette.bare has no docstring."]


def test_every_public_name_has_a_page_and_a_directive() -> None:
    public = {name: getattr(briquette, name) for name in briquette.__all__}
    pages = api_reference.pages_of(public)
    written = "\n".join(pages.values())
    assert all(f"::: briquette.{name}\n" in written for name in public if name != "__version__")
    assert "::: briquette.compact\n" in pages["index.md"]
    assert api_reference.page_of(briquette.CompactionResult) == "types.md"
    assert api_reference.page_of(KeyError) == "errors.md"


def test_a_name_without_an_entry_is_told(tmp_path) -> None:
    (tmp_path / "index.html").write_text('<h2 id="briquette.read">read</h2>')
    said = list(api_reference.missing_from(tmp_path, ["read", "compact", "__version__"]))
    assert said == ["briquette.compact is in __all__ and has no entry."]


def test_what_a_page_loads_from_elsewhere_is_told_and_a_link_is_not(tmp_path) -> None:
    (tmp_path / "good.html").write_text(
        '<script src="js/a.js"></script><a href="https://mkdocs.invalid">x</a>'
    )
    assert list(api_reference.loads_from_elsewhere(tmp_path)) == []
    (tmp_path / "bad.html").write_text('<script async src="https://cdn.invalid/a.js"></script>')
    (tmp_path / "bad.css").write_text("@font-face { src: url('//fonts.invalid/x.woff2') }")
    told = "\n".join(api_reference.loads_from_elsewhere(tmp_path))
    assert "cdn.invalid" in told
    assert "fonts.invalid" in told


def test_an_example_becomes_a_block_of_code_and_text_stays() -> None:
    text = "It adds.\n\n>>> add(  # doctest: +SKIP\n...     1)\n[('a', 1)]\n\nAnd [more]."
    block = "```pycon\n>>> add(\n...     1)\n[('a', 1)]\n```"
    assert fenced(text) == f"It adds.\n\n{block}\n\nAnd [more]."
    assert fenced("x >>> y") == "x >>> y"
