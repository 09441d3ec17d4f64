"""BIDS: sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz, with label maps beside the images or below derivatives/.

The patient is the subject, whatever its sessions, runs and contrasts. A label map belongs to the image of its session
whose name it repeats. Where it is the only one of its session, the other contrasts on the same voxels are channels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from imgmed.recipes.bids_channels import BidsCase, BidsCases, scans_of_sessions, with_channels
from imgmed.recipes.bids_names import BidsFile, bids_files
from imgmed.recipes.layout import BY_STANDARD, Recipe, Request
from imgmed.recipes.names import common_name, split_of
from imgmed.recipes.pairs import label_names
from imgmed.recipes.tree import Tree
from imgmed.study import CaseSource, Study, VolumeSource, duplicate_problems

__all__ = ["RECIPE"]

OF_THE_BRAIN = frozenset({"desc-brain", "label-brain", "brain", "brainmask"})  # masks made on the way to something
Session = tuple[str, str]


def _find(tree: Tree, request: Request) -> Study | None:
    files = list(bids_files(tree))
    images = [file for file in files if not file.is_label and file.is_called_after_subject]
    raw = [image for image in images if not image.is_derived] or images
    problems: list[str] = []
    notes: list[str] = []
    if request.is_unlabelled:
        cases = scans_of_sessions(tree, _by_session(raw).values())
        chosen = with_channels(tree, cases)
    else:
        cases, problems = _labelled(tree, [file for file in files if file.is_label], images, raw)
        contrasts = Counter(case.images[0].contrast for case in cases if case.is_named)
        most = max(Counter(_session(case.images[0]) for case in cases).values(), default=0)
        is_by_contrast = most > 1 or len({case.images[0].suffix for case in cases if case.is_named}) > 1
        if is_by_contrast and any(case.is_named and len(case.images) > 1 for case in cases):
            cases = [BidsCase(case.images[:1], case.labels, True) if case.is_named else case for case in cases]
            listed = ", ".join(f"{contrast} of {count}" for contrast, count in contrasts.items())
            notes.append(f"each label map belongs to one image ({listed} cases): other contrasts are no channels")
        chosen = with_channels(tree, cases)
    problems += chosen.problems
    if not chosen.cases and not (problems and any(image.is_in_own_folder for image in images)):
        return None
    return _study(tree, images, chosen, problems, [*notes, *chosen.notes])


def _study(
    tree: Tree, images: Sequence[BidsFile], chosen: BidsCases, problems: Sequence[str], notes: Sequence[str]
) -> Study:
    are_structures = any(len(case.labels) > 1 for case in chosen.cases)
    sources = tuple(_source(tree, case, are_structures) for case in chosen.cases)
    subjects = dict.fromkeys(image.subject for image in images)
    return Study(
        name=tree.root.resolve().name,
        root=tree.root,
        recipe=RECIPE.name,
        sources=sources,
        channels=chosen.channels,
        labels=label_names(tree),
        problems=(*problems, *duplicate_problems(sources)),
        reason=f"BIDS names of {len(subjects)} subjects, like {images[0].name}",
        notes=tuple(notes),
        patients=tuple(subjects),
        are_patients_coded=True,  # BIDS has codes for subjects, no names
    )


def _source(tree: Tree, case: BidsCase, are_structures: bool) -> CaseSource:
    stems = [PurePosixPath(tree.stems[image.name]).name for image in case.images]
    structures = tuple(file.structure or "" for file in case.labels) if are_structures else ()
    files = tuple(tree.path(file.name) for file in case.labels)
    return CaseSource(
        case_id=common_name(stems),
        images=tuple(VolumeSource((tree.path(image.name),)) for image in case.images),
        label=VolumeSource(files, structures=structures) if files else None,
        patient=case.images[0].subject,
        split=split_of(PurePosixPath(case.images[0].name).parts[:-1]),
    )


def _session(file: BidsFile) -> Session:
    return file.subject, file.session


def _by_session(images: Iterable[BidsFile]) -> dict[Session, list[BidsFile]]:
    sessions: dict[Session, list[BidsFile]] = {}
    for image in images:
        sessions.setdefault(_session(image), []).append(image)
    return sessions


def _labelled(
    tree: Tree, labels: Sequence[BidsFile], images: Sequence[BidsFile], raw: Sequence[BidsFile]
) -> tuple[list[BidsCase], list[str]]:
    """The label map of each image with the images that it may be of, and what is wrong with others."""
    problems: list[str] = []
    targets: dict[tuple[Session, str], tuple[list[BidsFile], tuple[BidsFile, ...], bool]] = {}
    for label in labels:
        pool = _of_session(label, raw)
        named = _named(label, _of_session(label, images))
        if len(named) > 1:
            listed = ", ".join(image.name for image in named)
            problems.append(f"{tree.path(label.name)}: label of which image? its name fits {listed}")
        elif not pool and not named:
            problems.append(f"{tree.path(label.name)}: label without an image of its subject and session")
        else:
            is_named = bool(named) or len(pool) == 1
            is_derived = any(image.is_derived for image in named)
            others = [image for image in pool if image not in named and not is_derived]
            candidates = (*named, *others)
            key = _session(candidates[0]), candidates[0].name if is_named else ""
            targets.setdefault(key, ([], candidates, is_named))[0].append(label)
    cases = []
    for maps, candidates, is_named in targets.values():
        masks = _usable(maps)
        if masks is None:
            listed = ", ".join(label.name for label in maps)
            problems.append(f"{tree.path(candidates[0].name)}: {len(maps)} label maps: {listed}; keep one of them")
        else:
            cases.append(BidsCase(candidates, masks, is_named))
    labelled = {_session(case.images[0]) for case in cases}
    for session, others in _by_session(raw).items():
        if session not in labelled and cases:
            example = cases[0].labels[0].name
            problems.append(
                f"{tree.path(others[0].name)}: image without a label; other sessions have one like {example}"
            )
    return cases, problems


def _of_session(label: BidsFile, images: Sequence[BidsFile]) -> list[BidsFile]:
    """The images that a label map can be of, as its subject, session, entities and folder of the data type tell."""
    pool = [image for image in images if image.subject == label.subject and not image.contradicts(label)]
    sessions = {image.session for image in pool}
    if label.session or len(sessions) > 1:
        pool = [image for image in pool if image.session in (label.session, "")]
    alike = [image for image in pool if image.datatype == label.datatype]
    return alike or pool


def _named(label: BidsFile, images: Sequence[BidsFile]) -> list[BidsFile]:
    """The images of which a label map repeats most words, those outside derivatives/ first."""
    named = [image for image in images if image.is_named_by(label)]
    most = max((len(image.words) for image in named), default=0)
    named = [image for image in named if len(image.words) == most]
    return [image for image in named if not image.is_derived] or named


def _usable(labels: Sequence[BidsFile]) -> tuple[BidsFile, ...] | None:
    """The label map among several files of one image, or the masks of its structures; None where nothing tells."""
    chosen = [label for label in labels if not OF_THE_BRAIN.intersection(label.words)] or list(labels)
    structures = {label.structure for label in chosen}
    if len(chosen) == 1 or (None not in structures and len(structures) == len(chosen)):
        return tuple(chosen)
    return None


RECIPE = Recipe(
    name="bids",
    layout="sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz with label maps (_dseg, _mask, _seg ...) beside the images or"
    " below derivatives/ (BIDS)",
    rank=BY_STANDARD,
    find=_find,
)
