"""What a card counts in: millimetres and patients, or of pictures pixels and pictures."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dist_training.inference.model_card import ModelCard
from r2d2.reports.formatting import heading, plural
from r2d2.zoo.card.description import ModelDescription
from segeval import Metric

__all__ = ["Terms", "terms_of"]


@dataclass(frozen=True)
class Terms:
    """The words of a card.

    Attributes:
        in_pixels: whether a length in "mm" is one in pixels: nobody knows how large those of a picture are.
        person: what intervals are over: "patient"; or "picture" where each is counted as a patient of its own.
    """

    in_pixels: bool
    person: str

    def has(self, metric: Metric) -> bool:
        """Whether a metric means anything: pictures have no volume."""
        return not (self.in_pixels and metric.unit == "ml")

    def heading(self, metric: Metric) -> str:
        """Name a metric with its unit."""
        return f"{metric.title}, pixels" if self.in_pixels and metric.unit == "mm" else heading(metric)

    def lengths(self, text: str) -> str:
        """Say the lengths in a text in their unit.

        >>> Terms(True, "picture").lengths("within the tolerance (every label 1 mm), in millimetres")
        'within the tolerance (every label 1 px), in pixels'
        """
        if not self.in_pixels:
            return text
        return re.sub(r"(\d) mm\b", r"\1 px", text.replace("in millimetres", "in pixels"))

    def cases(self, cases: int, patients: int) -> str:
        """Count cases and whose they are.

        >>> Terms(False, "patient").cases(4, 1), Terms(True, "picture").cases(4, 4)
        ('4 cases of 1 patient', '4 pictures')
        """
        if self.person == "picture":
            return plural(cases, "picture")
        return f"{plural(cases, 'case')} of {plural(patients, self.person)}"


def terms_of(description: ModelDescription, card: ModelCard) -> Terms:
    """Choose the words for a model: those of pictures where it learned from nothing else."""
    in_pixels = card.scan_kinds == ("picture",)
    scores, data = description.scores, description.data
    are_apart = data.patients in (None, data.cases) and (scores is None or scores.cases == scores.patients)
    return Terms(in_pixels, "picture" if in_pixels and are_apart else "patient")
