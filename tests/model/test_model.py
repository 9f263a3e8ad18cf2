"""The protocol's model: every configuration holds in every state, and every mutation of the model is noticed.

docs/decisions/0013-a-model-of-the-protocol.md describes them. `make model` runs the configurations left out here too.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.model import check

pytestmark = [
    pytest.mark.timeout(4 * check.TIMEOUT),
    pytest.mark.skipif(shutil.which("spin") is None, reason="spin is not installed"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="cc is not installed"),
]

#: The others take half of the time of all.
TESTED = [name for name in check.CONFIGURATIONS if name != "repeat"]


@pytest.fixture
def model() -> Iterator[check.Model]:
    """Compile the model: seconds, so each test checks many switches with it."""
    with check.Model() as compiled:
        yield compiled


def test_every_state_of_the_model_has_the_properties(model: check.Model) -> None:
    for name in TESTED:
        outcome = model.check(check.switches_of(name))
        assert not outcome.violated, f"{name}: {outcome.violated}\n{outcome.story}"
        assert outcome.complete, name


def test_every_mutation_is_caught_and_every_assumption_is_needed(model: check.Model) -> None:
    for name in [*check.MUTATIONS, *check.OPEN]:
        outcome = model.check(check.switches_of(name))
        assert check.caught(outcome), f"{name}: {outcome.violated or 'holds'}"
