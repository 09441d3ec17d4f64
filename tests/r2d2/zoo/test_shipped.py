"""What ships in the box: packaged, licensed and small; the words of its authors are complete."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import r2d2.zoo
from r2d2.zoo.publishing.author_words import read_author_words

REPOSITORY = Path(__file__).resolve().parents[3]
SHIPPED = Path(r2d2.zoo.__file__).parent / "shipped"
CARDS = {path.parent.name: path for path in (REPOSITORY / "examples" / "zoo").glob("*/card.yaml")}
LARGEST = 8e6


def licences() -> dict[str, str]:
    """The table of LICENSE.md: model to the licence of its weights."""
    rows = [line.split("|") for line in (SHIPPED / "LICENSE.md").read_text().splitlines() if line.startswith("| `")]
    return {name.strip(" `"): row[2].strip() for row in rows for name in row[1].split(",")}


def test_each_card_of_a_shipped_model_is_complete_and_its_licence_stands_in_the_table() -> None:
    assert len(CARDS) == 4 and {name: read_author_words(path).licence for name, path in CARDS.items()} == licences()


def test_shipped_models_are_small_and_come_from_a_recipe() -> None:
    folders = [path.parent for path in SHIPPED.glob("*/*/model.keras")]
    assert {folder.parent.name for folder in folders} == set(CARDS)
    for folder in folders:
        assert folder.parent.name in CARDS and (folder / "LICENSE").is_file()
        assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= LARGEST, folder


@pytest.mark.slow
def test_shipped_models_are_installed_with_their_licences(tmp_path: Path) -> None:
    """By what `pip install .` runs, on a copy of the project with little in it but a model."""
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, tmp_path)
    model = "zoo/shipped/hippocampus-unet/1"
    names = ["model.keras", "model.json", "card.json", "card.html", "card.md", "LICENSE", "files.json"]
    names.append("members/2/model.keras")
    (tmp_path / "r2d2" / model / "members/2").mkdir(parents=True)
    for path in ("__init__.py", "zoo/__init__.py", "zoo/shipped/LICENSE.md", *(f"{model}/{name}" for name in names)):
        (tmp_path / "r2d2" / path).write_text("")
    steps = ["build_py", "--build-lib", "built", "dist_info", "--output-dir", "built"]
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", *steps], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    built = tmp_path / "built/r2d2" / model
    assert {path.relative_to(built).as_posix() for path in built.rglob("*") if path.is_file()} == set(names)
    (described,) = (tmp_path / "built").glob("*.dist-info/METADATA")
    said = described.read_text()
    assert "License-Expression: MIT AND CC-BY-SA-4.0\n" in said
    assert f"License-File: r2d2/{model}/LICENSE\n" in said
