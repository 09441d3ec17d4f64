"""Errors come from another process as they were raised there."""

import pickle

import pytest

from imgmed.errors import ConversionError, InvalidCasesError, LeakError
from r2d2.errors import LaunchError
from r2d2_base.errors import CancelledError, NoSpaceError, R2D2Error
from segeval import EvaluationInputError


@pytest.mark.parametrize(
    "error",
    [
        CancelledError("no time"),
        ConversionError("headline", ["one", "two"]),
        EvaluationInputError(["one", "two"]),
        InvalidCasesError(["one", "two"], 5),
        LaunchError("the job failed", exit_code=7),
        LeakError(["one"], "draw new splits"),
        NoSpaceError("the disk is full"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_pickle(error: R2D2Error) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))
    for name in ("errno", "exit_code"):
        assert getattr(again, name, None) == getattr(error, name, None)
