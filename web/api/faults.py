"""Faults of a request, found by pydantic, in the one shape of errors."""

from __future__ import annotations

from flask import Response, jsonify, make_response
from pydantic import ValidationError

from r2d2.engine.errors import RefusedError, error_to_json

__all__ = ["refuse"]


def refuse(error: ValidationError) -> Response:
    """Answer a request that is not as the document says: every fault at its key."""
    faults = []
    for one in error.errors(include_url=False, include_context=False, include_input=False):
        key = ".".join(str(part) for part in one["loc"])
        faults.append((key, f"{key}: {one['msg']}" if key else one["msg"]))
    refused = RefusedError("; ".join(sentence for _, sentence in faults), faults)
    return make_response(jsonify(error_to_json(refused)), 422)
