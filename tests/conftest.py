"""Fixtures for all tiers; what one tier needs alone stands in its own folder."""

import hypothesis
import pytest

# A property says what holds, not how fast: on a busy machine an example may take as long as it likes.
hypothesis.settings.register_profile("hitl", deadline=None)
hypothesis.settings.load_profile("hitl")

# The real API server of the cluster tier; whoever asks for one of its fixtures is in that tier.
pytest_plugins = ["cluster_fixtures"]

# Suites that are imported, not collected: without this their failed assertions would not say what they compared.
pytest.register_assert_rewrite("stores.contract")
