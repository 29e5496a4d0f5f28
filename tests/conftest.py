"""Fixtures for all tiers; what one tier needs alone stands in its own folder."""

import pytest

# Suites that are imported, not collected: without this their failed assertions would not say what they compared.
pytest.register_assert_rewrite("stores.contract")
