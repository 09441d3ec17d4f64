"""A folder of label maps that an earlier call has finished: that it is one, and holds nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

from r2d2.prediction.manifest import MANIFEST, PredictionManifest, map_name, read_manifest
from r2d2.prediction.volumes import VOLUMES
from r2d2_base.errors import OutputExistsError
from r2d2_base.folders import check_absent

__all__ = ["few_names", "finished_prediction"]

MOST_NAMED = 3


def finished_prediction(out: Path) -> PredictionManifest | None:
    """Read the manifest of the prediction in a folder; None where there is no folder yet, or an empty one.

    Raises:
        OutputExistsError: something else is there, or a file among the label maps that is none of theirs: it would be
            lost when the folder is replaced.
        PredictionError: the manifest is damaged.
    """
    manifest = read_manifest(out) if out.is_dir() else None
    if manifest is None:
        check_absent(out)
        return None
    ours = _files(manifest)
    others = sorted(name for name in _names_in(out) if name not in ours and not _is_map(name, manifest))
    if others:
        raise OutputExistsError(
            f"{out} holds files that are of no prediction ({few_names(others)}); choose another folder, or move them"
            " away"
        )
    return manifest


def _names_in(folder: Path) -> list[str]:
    """All files and links, by their names in the folder."""
    names = []
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        names += [Path(parent, name).relative_to(folder).as_posix() for name in (*files, *links)]
    return names


def _files(manifest: PredictionManifest) -> set[str]:
    made = {file for each in manifest.made.values() for file in each.sha256}
    return {MANIFEST, VOLUMES, *(case.file for case in manifest.cases), *made}


def _is_map(name: str, manifest: PredictionManifest) -> bool:
    """Tell whether a file is a map of a case, where an earlier version has not recorded which there are."""
    path = PurePath(name)
    return (
        not manifest.made
        and path.parts[0] in ("probabilities", "uncertainty")
        and path.name in {map_name(case.file) for case in manifest.cases}
    )


def few_names(lines: Sequence[str]) -> str:
    """Return some lines as one.

    >>> few_names(["a", "b", "c", "d", "e"])
    'a; b; c and 2 more'
    """
    more = f" and {len(lines) - MOST_NAMED} more" if len(lines) > MOST_NAMED else ""
    return "; ".join(lines[:MOST_NAMED]) + more
