"""Label maps of DICOM series as DICOM: which series a label map refers to, and what it says of its making."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from imgmed import Volume
from imgmed.errors import PairMismatchError, UnsupportedFormatError
from r2d2 import __version__
from r2d2.errors import PredictionError
from r2d2.prediction.settings import DicomOutput

if TYPE_CHECKING:
    from dist_training.inference.model_card import ModelCard

__all__ = ["DicomTarget"]

SOFTWARE = "R2D2"


@dataclass(frozen=True)
class DicomTarget:
    """The series that a label map refers to, and what is written.

    Attributes:
        files: of the series.
        kind: "seg" or "rtstruct".
        labels: name to label value.
        model_sha256: of the network; of an ensemble SHA-256 of those of its networks, one after the other.
        codes: of labels whose names do not tell what they are.
    """

    files: tuple[Path, ...]
    kind: DicomOutput
    labels: dict[str, int]
    model_sha256: str
    codes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, files: Sequence[Path], kind: DicomOutput, cards: Sequence[ModelCard]) -> DicomTarget:
        """Take labels and codes from the cards of the networks that are asked together."""
        digests = [card.model_sha256 for card in cards]
        digest = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
        return cls(tuple(files), kind, dict(cards[0].labels), digest, dict(cards[0].label_codes))

    def check(self) -> None:
        """Look whether the series can be referred to.

        Raises:
            PredictionError: it cannot, and what would work.
            ImgMedError: a file is damaged.
        """
        from imgmed.formats.dicom_source import check_source

        with self._advised():
            check_source(self.files)

    def write(self, path: Path, label_map: Volume) -> None:
        """Write a label map in the voxels of the series; raises as `check`."""
        from imgmed.formats.dicom_seg_writer import write_segmentation
        from imgmed.formats.dicom_source import Producer
        from imgmed.formats.rtstruct_writer import write_structures

        producer = Producer(SOFTWARE, __version__, self.model_sha256)
        with self._advised():
            if self.kind == "seg":
                write_segmentation(path, label_map, self.labels, self.files, producer, self.codes)
            else:
                write_structures(path, label_map, self.labels, self.files, producer)

    @contextmanager
    def _advised(self) -> Iterator[None]:
        missing = next((path for path in self.files if not path.is_file()), None)
        if missing is not None:
            raise PredictionError(
                f"{missing}: no such file; a label map as DICOM refers to the files of its series"
                " (--dicom-output nifti needs none)"
            )
        try:
            yield
        except (UnsupportedFormatError, PairMismatchError) as error:
            raise PredictionError(f"{error} (--dicom-output nifti)") from error
