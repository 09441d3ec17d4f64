"""Exceptions of ImgMed: one root, leaves that are also the built-in error they specialise."""

from __future__ import annotations

from collections.abc import Sequence

from r2d2_base.errors import R2D2Error

__all__ = [
    "AugmentationError",
    "ConversionError",
    "DuplicateCasesError",
    "ImgMedError",
    "InvalidCasesError",
    "InvalidSplitsError",
    "InvalidVolumeError",
    "LabelError",
    "LeakError",
    "NotADatasetError",
    "PairMismatchError",
    "PatientKeyError",
    "SchemaVersionError",
    "SourceLayoutError",
    "SourceNotFoundError",
    "TooFewPatientsError",
    "UnknownCaseError",
    "UnknownChannelError",
    "UnknownFoldError",
    "UnknownPresetError",
    "UnknownRecipeError",
    "UnreadableFileError",
    "UnsafeArchiveError",
    "UnsupportedFormatError",
    "WrongChannelsError",
]


MOST_SHOWN = 100


class ImgMedError(R2D2Error):
    """Root of all errors that ImgMed raises on purpose."""


class AugmentationError(ImgMedError, ValueError):
    """A request for augmented copies that cannot be met."""


class SourceNotFoundError(ImgMedError, FileNotFoundError):
    """A file or folder that was asked for does not exist."""


class SourceLayoutError(ImgMedError, ValueError):
    """A source folder does not follow a layout that a recipe understands."""


class UnknownRecipeError(ImgMedError, ValueError):
    """A recipe name that is not registered."""


class UnknownPresetError(ImgMedError, ValueError):
    """A preset name that does not exist."""


class UnsupportedFormatError(ImgMedError, ValueError):
    """A file whose format no reader or writer handles."""


class UnreadableFileError(ImgMedError, OSError):
    """A file that exists but cannot be read: truncated, damaged or not what its name says."""


class UnsafeArchiveError(ImgMedError, ValueError):
    """An archive with members that would be written outside the folder, or that grow beyond their declared size."""


class InvalidVolumeError(ImgMedError, ValueError):
    """A volume whose shape, values or affine break a rule."""


class WrongChannelsError(InvalidVolumeError):
    """A volume that lacks wanted channels, or does not tell which of its channels these are."""


class PairMismatchError(ImgMedError, ValueError):
    """Two files of one case that do not lie on the same voxel grid."""


class LabelError(ImgMedError, ValueError):
    """Label values or a label map that break a rule."""


class InvalidCasesError(ImgMedError, ValueError):
    """One or more cases of a study cannot be used; all of them are listed.

    `problems` holds one finished sentence for each, naming the file.
    """

    def __init__(self, problems: Sequence[str], cases: int) -> None:
        self.problems = tuple(problems)
        if len(self.problems) == 1:
            message = self.problems[0]
        else:
            lines = "\n".join(f"  {problem}" for problem in self.problems)
            message = f"{len(self.problems)} problems among {cases} cases:\n{lines}"
        super().__init__(message)


class UnknownChannelError(ImgMedError, LookupError):
    """A wanted channel that the study does not have."""


class DuplicateCasesError(ImgMedError, ValueError):
    """Cases with the same image content, where that was to stop the preparation; all of them are listed."""

    def __init__(self, sentences: Sequence[str]) -> None:
        self.sentences = tuple(sentences)
        lines = "\n".join(f"  {sentence}" for sentence in self.sentences)
        super().__init__(f"{len(self.sentences)} pairs of cases with the same image content:\n{lines}")


class PatientKeyError(ImgMedError, ValueError):
    """No usable key to hide patients' names with."""


class InvalidSplitsError(ImgMedError, ValueError):
    """Given splits that do not hold every case of the study exactly once."""


class LeakError(ImgMedError, ValueError):
    """The same patient, or the same image content, in two parts of given or kept splits.

    `problems` holds one finished sentence for each group of cases that is torn apart.
    """

    def __init__(self, problems: Sequence[str], advice: str = "keep each of these together") -> None:
        self.problems = tuple(problems)
        shown = "\n".join(f"  {problem}" for problem in self.problems[:MOST_SHOWN])
        more = len(self.problems) - MOST_SHOWN
        super().__init__(
            f"{len(self.problems)} leak{'s' if len(self.problems) > 1 else ''} between the parts of the splits;"
            f" {advice}:\n{shown}" + (f"\n  ... and {more} more" if more > 0 else "")
        )


class TooFewPatientsError(ImgMedError, ValueError):
    """Fewer patients than training, validation and test need."""


class NotADatasetError(ImgMedError, ValueError):
    """A folder that holds no readable prepared dataset."""


class SchemaVersionError(ImgMedError, ValueError):
    """A prepared dataset written with another schema version."""


class UnknownFoldError(ImgMedError, LookupError):
    """A fold that the dataset's splits do not have."""


class UnknownCaseError(ImgMedError, LookupError):
    """A case identifier that the dataset does not hold."""


class ConversionError(ImgMedError, ValueError):
    """Pictures that cannot be made as asked: settings, names or files that break a rule; all of them are listed.

    `problems` holds one finished sentence for each; the message shows the first hundred.
    """

    def __init__(self, headline: str, problems: Sequence[str] = ()) -> None:
        self.problems = tuple(problems)
        lines = [f"  {problem}" for problem in self.problems[:MOST_SHOWN]]
        more = len(self.problems) - len(lines)
        super().__init__("\n".join([headline, *lines, *([f"  and {more} more"] if more else [])]))
