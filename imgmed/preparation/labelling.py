"""Which numbers a study's labels get in the prepared dataset, the same in every case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from imgmed.errors import LabelError
from imgmed.fingerprint.measures import CaseMeasures, LabelMeasures
from imgmed.labels import labels_from_values, number_segments, parse_regions
from imgmed.mask_values import edge_hint, mask_fault, mask_hint
from imgmed.preparation.survey import SurveyRecord

__all__ = ["Labelling", "labelling_of"]

ABSENT = LabelMeasures(voxels=0, volume_ml=0)


@dataclass(frozen=True)
class Labelling:
    """Names and numbers of a study's labels.

    Args:
        labels: {name: value}, background included.
        regions: {name: values} of labels that overlap or belong together.
        segments: {name: values} that named masks are composed by; {} where the sources hold integers.
        hints: sentences on labels that nobody declared.
    """

    labels: Mapping[str, int]
    regions: Mapping[str, tuple[int, ...]]
    segments: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    hints: tuple[str, ...] = ()

    def completed(self, record: SurveyRecord) -> CaseMeasures:
        """The measures of a case with an entry for each label, also for those that it lacks."""
        if record.label is None:
            return record.measures
        found = record.measures.labels
        every = {name: found.get(name, ABSENT) for name, value in self.labels.items() if value}
        return record.measures.model_copy(update={"labels": every})

    def values_in(self, record: SurveyRecord) -> frozenset[int]:
        """The label values other than the background that a case holds; of a classified case its category's."""
        if record.category is not None:
            return frozenset({self.labels[record.category]})
        masks = {name for names, _ in record.combinations for name in names}
        return frozenset(value for value in record.label_counts if value) | {
            value for name in masks for value in self.segments[name]
        }


def labelling_of(
    records: Sequence[SurveyRecord],
    declared: Mapping[str, int] | None,
    regions: Mapping[str, tuple[int, ...]] | None,
) -> Labelling:
    """Number the labels of a study: as declared, or as found; masks that overlap get composite integers.

    Args:
        records: of all cases.
        declared: {name: value} of the user or the source; None takes what occurs.
        regions: {name: values} of the user or the source.

    Raises:
        LabelError: some cases hold integers and others named masks, masks that are not declared, regions of
            values that are no labels, values that nobody declared and that are no classes, or nothing is labelled.
    """
    categories = sorted({record.category for record in records if record.category is not None})
    if categories:
        return Labelling(dict(declared or {name: number for number, name in enumerate(categories)}), {})
    masked = [record for record in records if record.combinations]
    numbered = [record for record in records if record.label_counts]
    integers = [record for record in numbered if set(record.label_counts) - {0}]
    if masked and integers:
        raise LabelError(
            f"{masked[0].case_id} names its labels (DICOM SEG or RTSTRUCT), {integers[0].case_id} numbers them;"
            " prepare them apart, or convert one kind"
        )
    if masked:
        combinations = {record.case_id: {frozenset(names) for names, _ in record.combinations} for record in masked}
        names = None if declared is None else [name for name, value in declared.items() if value]
        labels, segments = number_segments(combinations, names)
        return Labelling(labels, {**segments, **parse_regions(regions or {}, labels, "regions")}, segments)
    values = sorted({value for record in numbered for value in record.label_counts})
    if numbered and not any(values):
        raise LabelError("every label map is background only; there is nothing to learn")
    if declared is not None:
        return Labelling(dict(declared), parse_regions(regions or {}, declared, "regions"))
    counts = [record.label_counts for record in numbered]
    fault = mask_fault(counts)
    if fault is not None:
        raise LabelError(fault)
    labels = labels_from_values(values)
    hints = tuple(hint for hint in (mask_hint(values), edge_hint(counts)) if hint is not None)
    return Labelling(labels, parse_regions(regions or {}, labels, "regions"), hints=hints)
