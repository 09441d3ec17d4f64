"""Reading what was sent: a model, or one error with every fault at its key."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from r2d2.engine.errors import RefusedError
from r2d2_base.settings_faults import key_of, settings_faults

__all__ = ["validated"]


def validated(model: type[BaseModel], content: Any, what: str) -> Any:
    """Read a request.

    Raises:
        RefusedError: with every fault at its key.

    >>> from r2d2.engine.models import Submission
    >>> validated(Submission, {"task": "train", "priority": "high"}, "submission")
    Traceback (most recent call last):
        ...
    r2d2.engine.errors.RefusedError: 1 fault in the submission: priority: must be a whole number; received 'high'
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        sentences = settings_faults(error, model)
        faults = [(key_of(sentence), sentence) for sentence in sentences]
        count = "1 fault" if len(sentences) == 1 else f"{len(sentences)} faults"
        raise RefusedError(f"{count} in the {what}: {'; '.join(sentences)}", faults) from error
