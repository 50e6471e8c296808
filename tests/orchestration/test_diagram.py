"""The picture of the flow is the one its text describes."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_picture_was_drawn_after_its_text_last_changed():
    digest = hashlib.sha256((DOCS / "flow.dot").read_bytes()).hexdigest()
    assert digest in (DOCS / "flow.svg").read_text(encoding="utf-8"), "run make diagram"


def test_the_picture_shows_engine_choice_fallback_and_the_way_around_the_transform():
    picture = (DOCS / "flow.svg").read_text(encoding="utf-8")
    edges = set(re.findall(r"<title>(\w+)&#45;&gt;(\w+)</title>", picture))
    wanted = {
        ("preflight", "proceed"),
        ("proceed", "engine"),
        ("engine", "dask"),
        ("engine", "glue"),
        ("class_", "glue"),
        ("glue", "guard"),
        ("guard", "should"),
        ("should", "transform"),
        ("should", "result"),
        ("transform", "result"),
        ("class_", "again"),
        ("again", "preflight"),
        ("collect", "indicators"),
    }
    assert wanted <= edges, wanted - edges
    assert "<title>cluster_compaction</title>" in picture


def test_words_of_a_wider_font_still_fit():
    """The boxes are laid out for larger letters than are drawn."""
    sizes = re.findall(r"fontsize=([0-9.]+)", (DOCS / "flow.dot").read_text(encoding="utf-8"))
    drawn = re.findall(r'font-size="([0-9.]+)"', (DOCS / "flow.svg").read_text(encoding="utf-8"))
    assert {float(size) for size in drawn} == {round(float(size) * 0.8, 2) for size in sizes}
