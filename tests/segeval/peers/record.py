"""`make compare-peers`: run every library on every mask, compare with SegEval, write what they say.

Runs in the peers' environment. Without `COMPARE_ARGS=--check` the recorded files are written anew.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from tests.segeval.peers.comparison import COMPARISONS, Comparison, largest_difference
from tests.segeval.peers.differences import DIFFERENCES
from tests.segeval.peers.libraries import LIBRARIES, monai, nnunet, version
from tests.segeval.peers.masks import LabelMapPair, digest, label_map_pairs, mask_pairs, study_pairs

FOLDER = Path(__file__).parent / "recorded"
STUDY_REGIONS: nnunet.Regions = [1, 2, 3, (1, 2)]
"""What nnU-Net scores in a study; label 4, which no case has, is added once (nnUNet#2241)."""


def main() -> int:
    """Run, print the table, write; 1 where a number differs that should not."""
    parser = argparse.ArgumentParser(prog="python -m tests.segeval.peers.record", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    recorded: dict[str, dict[str, np.ndarray]] = {}
    for name, library in LIBRARIES.items():
        start = time.perf_counter()
        recorded[name] = library.measure_masks(mask_pairs())
        if hasattr(library, "measure_label_maps"):
            maps = library.measure_label_maps(label_map_pairs())
            recorded[name] |= {f"label_maps {metric}": values for metric, values in maps.items()}
        print(f"{name} {version(name)}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    failures = print_table(recorded)
    if not arguments.check:
        write(recorded)
    return 1 if failures else 0


def print_table(recorded: Mapping[str, Mapping[str, np.ndarray]]) -> int:
    """Print a line for each comparison; count those beyond their tolerance."""
    failures = 0
    print(
        f"{'library':18} {'version':8} {'metric':32} {'convention':20} {'masks':>6} {'difference':>11}  allowed"
        "  left out, on purpose"
    )
    for comparison in COMPARISONS:
        theirs = comparison.their_values(recorded[comparison.library])
        compared = comparison.compared()
        difference = largest_difference(comparison.our_values()[compared], theirs[compared])
        failures += difference > comparison.tolerance
        choices = ", ".join(value for _, value in comparison.choices)
        print(
            f"{comparison.library:18} {version(comparison.library):8} {comparison.metric:32} {choices:20}"
            f" {compared.sum():6d} {difference:11.1e}  {comparison.tolerance:.0e}  {_on_purpose(comparison)}"
            + ("  <-- TOO LARGE" if difference > comparison.tolerance else "")
        )
    return failures


def _on_purpose(comparison: Comparison) -> str:
    return "; ".join(
        difference.issue or difference.what.split(":")[0]
        for difference in DIFFERENCES
        if (difference.library, difference.metric) == (comparison.library, comparison.metric)
        and not difference.is_reproduced
    )


def write(recorded: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Write an archive for each library, the studies' means and the versions, each beside and then renamed."""
    FOLDER.mkdir(exist_ok=True)
    for name, values in recorded.items():
        with tempfile.NamedTemporaryFile(dir=FOLDER, suffix=".npz", delete=False) as file:
            np.savez_compressed(file, **values)
        _rename(Path(file.name), FOLDER / f"{name}.npz")
    _write_json("monai_study.json", monai.measure_study(study_pairs("absent_classes")))
    for kind, regions, name in (
        ("absent_classes", STUDY_REGIONS, "nnunet_summary.json"),
        ("absent_classes", [1, 2, 3, 4], "nnunet_summary_absent_label.json"),
        ("ignored", STUDY_REGIONS, "nnunet_summary_ignored.json"),
    ):
        _write_json(name, _nnunet_summary(study_pairs(kind), regions))
    _write_json(
        "versions.json",
        {
            "masks_sha256": digest(),
            "libraries": {name: version(name) for name in (*LIBRARIES, "numpy", "scipy", "torch")},
        },
    )


def _nnunet_summary(pairs: Sequence[LabelMapPair], regions: nnunet.Regions) -> Any:
    """Run nnU-Net on files; the summary names them without their folder."""
    with tempfile.TemporaryDirectory() as folder:
        for role in ("reference", "prediction"):
            Path(folder, role).mkdir()
            for number, pair in enumerate(pairs):
                image = nibabel.Nifti1Image(getattr(pair, role), np.diag([*pair.spacing_mm, 1.0]))
                nibabel.save(image, Path(folder, role, f"case_{number}.nii.gz"))
        out = Path(folder, "summary.json")
        nnunet.write_summary(Path(folder, "reference"), Path(folder, "prediction"), regions, out)
        return json.loads(out.read_text().replace(f"{folder}/", ""))


def _write_json(name: str, content: Any) -> None:
    with tempfile.NamedTemporaryFile("w", dir=FOLDER, suffix=".json", delete=False) as file:
        file.write(json.dumps(content, indent=1) + "\n")
    _rename(Path(file.name), FOLDER / name)


def _rename(temporary: Path, final: Path) -> None:
    temporary.chmod(0o644)
    temporary.replace(final)


if __name__ == "__main__":
    sys.exit(main())
