"""Test classes for stores and executors that are written outside this package; they need pytest."""

import pytest

pytest.register_assert_rewrite("briquette.testing.stores", "briquette.testing.executors")
