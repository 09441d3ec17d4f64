"""Names of BIDS: sub-01_ses-1_acq-sag_T1w.nii.gz taken apart.

Source: Brain Imaging Data Structure, https://bids-specification.readthedocs.io (entities, derivatives of imaging data).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from imgmed.recipes.names import label_name
from imgmed.recipes.tree import Tree

__all__ = ["BidsFile", "bids_files"]

SUBJECT = re.compile(r"sub-[^_/]+")
SESSION = re.compile(r"ses-[^_/]+")
DERIVED = "derivatives"
DATATYPES = frozenset({"anat", "dwi", "func", "fmap", "perf", "pet", "ct", "micr", "mrs", "swi"})
OF_LABELS_ALONE = frozenset(
    {"label", "desc", "seg", "atlas", "rater", "den", "res"}
)  # entities that say nothing of images
NOT_USED = re.compile(r"(?:.*_)?(?:probseg|xfm|bold|sbref|events|physio|phase|magnitude[12]?|phasediff)", re.IGNORECASE)


@dataclass(frozen=True)
class BidsFile:
    """A volume of a subject.

    Args:
        name: path from the root.
        subject: such as "sub-01".
        session: such as "ses-1"; "" without.
        words: the other parts of its name, such as ("acq-sag", "T1w").
        datatype: the folder that says so, such as "anat"; "" without.
        is_label: whether its name, or a folder on the way, has a word for labels.
        is_derived: whether it lies below derivatives/.
    """

    name: str
    subject: str
    session: str
    words: tuple[str, ...]
    datatype: str
    is_label: bool
    is_derived: bool

    @property
    def contrast(self) -> str:
        """What tells it from other images of the session, such as "acq-sag_T1w"."""
        return "_".join(self.words)

    @property
    def structure(self) -> str | None:
        """What its entity "label" names, such as "lesion" in "label-lesion_mask"."""
        return next((word.partition("-")[2] for word in self.words if word.lower().startswith("label-")), None)

    @property
    def suffix(self) -> str:
        """The last part of its name, such as "T1w"."""
        return self.words[-1] if self.words else "image"

    @property
    def run(self) -> str:
        """Which repetition it is, such as "run-2"; "" without."""
        return next((word.lower() for word in self.words if word.lower().startswith("run-")), "")

    @property
    def is_called_after_subject(self) -> bool:
        """Whether the file's own name says whose it is, not only a folder's."""
        return self.name.rpartition("/")[2].startswith(f"{self.subject}_")

    @property
    def is_in_own_folder(self) -> bool:
        """Whether a folder on the way is the subject's."""
        return self.subject in self.name.split("/")[:-1]

    def contradicts(self, label: BidsFile) -> bool:
        """Tell whether an entity that both have has another value in a label map, such as run-1 against run-2."""
        own, others = _entities(self.words), _entities(label.words)
        return any(key in others and others[key] != value for key, value in own.items())

    def is_named_by(self, label: BidsFile) -> bool:
        """Tell whether a label map has all words of this image in its own name."""
        return {word.lower() for word in self.words} <= {word.lower() for word in label.words}


def bids_files(tree: Tree) -> Iterator[BidsFile]:
    """Give the volumes of all subjects; probabilities, series of time points and field maps are left aside."""
    for name in tree.volumes:
        *folders, stem = tree.stems[name].split("/")
        subject = _entity(SUBJECT, stem, folders)
        if not subject or NOT_USED.fullmatch(stem):
            continue
        session = _entity(SESSION, stem, folders)
        own = [word for word in re.split(r"[_]", stem) if word and word not in (subject, session)]
        inner = [folder for folder in folders if folder not in (subject, session)]
        yield BidsFile(
            name=name,
            subject=subject,
            session=session,
            words=tuple(own),
            datatype=next((folder for folder in reversed(folders) if folder in DATATYPES), ""),
            is_label=any(label_name(part) is not None for part in ("_".join(own), *inner)),
            is_derived=any(folder.lower() == DERIVED for folder in PurePosixPath(name).parts[:-1]),
        )


def _entity(pattern: re.Pattern[str], stem: str, folders: list[str]) -> str:
    """An entity of the file's name, or of the innermost folder that has it; "" without."""
    own = next((word for word in stem.split("_") if pattern.fullmatch(word)), None)
    return own or next((folder for folder in reversed(folders) if pattern.fullmatch(folder)), "")


def _entities(words: tuple[str, ...]) -> dict[str, str]:
    pairs = (word.lower().partition("-") for word in words if "-" in word)
    return {key: value for key, _, value in pairs if key not in OF_LABELS_ALONE}
