"""r2d2 compare as a user runs it."""

import csv
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from r2d2.cli import app, main
from r2d2.cli.compare import OnUnmatchedName, SchemeName
from r2d2.tasks.comparison import CompareSettings, compare, write_comparison
from r2d2_base.errors import CancelledError
from r2d2_base.progress import StopRequest
from segeval import Conventions, evaluate_folder, write_evaluation
from segeval.statistics import SCHEMES
from tests.small_evaluations import LABELS, write_small_evaluations


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_evaluations(tmp_path_factory.mktemp("models"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)], env={"COLUMNS": "100"})


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """With the handling of errors around it; gives the exit code."""
    monkeypatch.setattr(sys, "argv", ["r2d2", "compare", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def row_of(text: str, label: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(label))


def test_two_models(made: Path) -> None:
    done = run(made / "evaluation_good", made / "evaluation_shifted", "--metric", "dice")
    assert done.exit_code == 0, done.stderr
    assert f"A = {made / 'evaluation_good'}" in done.stdout
    row = row_of(done.stdout, "lesion").split()
    # a lesion 2 voxels thick, moved by 2: no overlap is left; p = 2/2^10 of each label, doubled
    assert row[1:4] == ["10", "1.000", "0.000"] and "-1.000 [-1.000, -1.000]" in done.stdout
    assert row[-3:] == ["0.004", "A", "better"]
    assert re.search(r"1 +A +0\.\d{3} +1 to 1 +100 %", done.stdout)
    assert "1.00 on average, 1.00 at the 2.5th percentile" in done.stdout
    assert "hd95_mm" not in done.stdout


def test_lines_fit_into_100_columns(made: Path) -> None:
    paths = [made / f"evaluation_{name}" for name in ("good", "shifted", "blind")]
    lines = run(*paths).stdout.splitlines()
    assert max(len(line) for line in lines if " = " not in line) <= 100
    assert not any("…" in line for line in lines)


def test_three_models_the_best_against_the_others(made: Path) -> None:
    done = run(made / "evaluation_blind", made / "evaluation_shifted", made / "evaluation_good")
    assert done.exit_code == 0, done.stderr
    assert re.findall(r"^(\w+) \((\w+) is better\): ranking", done.stdout, re.MULTILINE) == [
        ("dice", "higher"),
        ("hd95_mm", "lower"),
        ("nsd", "higher"),
    ]
    assert re.findall(r"^ +[123] +([ABC]) ", done.stdout, re.MULTILINE) == ["C", "B", "A"] * 3
    assert set(re.findall(r"[ABC], [ABC]", done.stdout)) == {"C, A", "C, B"}
    assert "C better" in done.stdout


def test_files(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "comparison"
    done = run(made / "evaluation_good", made / "evaluation_blind", "--out", out, "--seed", "3")
    assert done.exit_code == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["comparison.csv", "comparison.json"]

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    content = json.loads((out / "comparison.json").read_text(), parse_constant=refuse)
    assert content["evaluations"] == {"A": str(made / "evaluation_good"), "B": str(made / "evaluation_blind")}
    assert [ranking["metric"] for ranking in content["rankings"]] == ["dice", "hd95_mm", "nsd"]
    assert content["comparisons"][0]["seed"] == 3
    with (out / "comparison.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["metric"], row["label"]) for row in rows] == [
        (metric, label) for metric in ("dice", "hd95_mm", "nsd") for label in LABELS
    ]
    lesion = rows[1]
    assert (lesion["first_mean"], lesion["second_mean"], lesion["difference"]) == ("1.0", "0.0", "-1.0")
    assert float(lesion["p"]) == 2 / 1024 and lesion["verdict"] == "first better"


def test_the_same_again_is_the_same_file(made: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        assert run(made / "evaluation_good", made / "evaluation_shifted", "--out", tmp_path / name).exit_code == 0
    for name in ("comparison.csv", "comparison.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_a_model_with_itself(made: Path, tmp_path: Path) -> None:
    done = run(made / "evaluation_good", made / "evaluation_good", "--metric", "dice", "--out", tmp_path)
    assert "no difference shown" in done.stdout
    assert "no patient differs" in done.stderr
    assert json.loads((tmp_path / "comparison.json").read_text())["comparisons"][0]["rows"][0]["p"] is None


@pytest.mark.parametrize("name", ["[red]organ", "organ [/b]", "[1]", "a:heart:"])
def test_names_of_labels_are_words_not_markup(made: Path, tmp_path: Path, name: str) -> None:
    evaluation = evaluate_folder(made / "reference", made / "good", {name: (1, 2)}, workers=1, metrics=("dice",))
    write_evaluation(evaluation, tmp_path)
    done = run(tmp_path, tmp_path)
    assert done.exit_code == 0, done.exception
    assert f"ranking over {name}, 10 cases" in done.stdout
    assert f"\n  {name} " in done.stdout


def test_a_folder_whose_name_is_no_utf_8_is_written_down(made: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(made / "evaluation_good", tmp_path / os.fsdecode(b"mod\xe8le")))
    result = compare(CompareSettings(evaluations=(copy, made / "evaluation_blind"), metrics=("dice",)))
    write_comparison(result, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))
    assert content["evaluations"]["A"] == str(copy)


def test_a_comparison_that_is_cancelled_ends_between_metrics(made: Path, tmp_path: Path) -> None:
    stop, told = StopRequest(), []

    def cancel(stage: str, done: int, total: int) -> None:
        told.append((stage, done, total))
        if done == 1:
            stop.make("enough")

    paths = (made / "evaluation_good", made / "evaluation_blind")
    with pytest.raises(CancelledError, match="enough"):
        compare(CompareSettings(evaluations=paths, out=tmp_path / "out"), progress=cancel, stop=stop)
    assert told == [("comparing", 0, 3), ("comparing", 1, 3)] and not (tmp_path / "out").exists()


def test_nnunets_summary(made: Path) -> None:
    """The summary.json of ours without our extension is one of nnU-Net's; only Dice can be compared by default."""
    copy = made / "from_nnunet.json"
    summary = json.loads((made / "evaluation_good" / "summary.json").read_text())
    del summary["r2d2"]
    copy.write_text(json.dumps(summary))
    done = run(made / "evaluation_shifted", copy)
    assert done.exit_code == 0, done.stderr
    assert "B better" in row_of(done.stdout, "lesion")
    assert "dice" in done.stdout and "hd95_mm" not in done.stdout


@pytest.mark.parametrize("scheme", SchemeName)
def test_every_scheme(made: Path, scheme: SchemeName) -> None:
    done = run(made / "evaluation_good", made / "evaluation_blind", "--metric", "nsd", "--scheme", scheme.value)
    assert done.exit_code == 0, done.stderr
    assert re.search(r"1 +A ", done.stdout)


def test_choices_are_those_of_the_library() -> None:
    assert {scheme.value for scheme in SchemeName} == set(SCHEMES)
    assert {choice.value for choice in OnUnmatchedName} == {"error", "leave_out"}


def without_a_case(folder: Path, made: Path) -> Path:
    """Evaluation of the good model on nine of the ten cases."""
    for name in ("reference", "good"):
        shutil.copytree(made / name, folder / name)
        (folder / name / "case 3.nii.gz").unlink()
    write_evaluation(evaluate_folder(folder / "reference", folder / "good", LABELS, workers=1), folder / "evaluation")
    return folder / "evaluation"


def test_other_cases_are_refused_or_left_out(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = without_a_case(tmp_path, made)
    assert run_main(monkeypatch, made / "evaluation_blind", fewer, "--out", tmp_path / "out") == 2
    assert capsys.readouterr().err == "r2d2: A has 1 case that not every other has: case 3\n"
    assert not (tmp_path / "out").exists()
    done = run(made / "evaluation_blind", fewer, "--on-unmatched", "leave_out", "--metric", "dice")
    assert done.exit_code == 0 and "9 cases of 9 patients" in done.stdout
    assert "A: cases that not every other has are left out: case 3." in done.stderr


def test_mistakes_are_one_message_and_exit_code_2(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, blocked = made / "evaluation_good", tmp_path / "file"
    blocked.write_text("")
    for arguments, message in [
        ((good,), "give 2 to 26 evaluations"),
        ((good, tmp_path), "no summary.json here; evaluate first"),
        ((good, good, "--metric", "dise"), "metrics must be among dice"),
        ((good, good, "--metric", "lesion_f1"), "A and B have no metric in common"),
        ((good, good, "--confidence", "95"), "confidence must lie between 0 and 1"),
        ((good, good, "--scheme", "best"), "Invalid value for '--scheme'"),
        ((good, good, "--out", blocked), "is no folder); choose another place"),
    ]:
        assert run_main(monkeypatch, *arguments) == 2, arguments
        said = capsys.readouterr().err
        assert message in said.replace("\n", " "), said
        assert "Traceback" not in said


def test_other_conventions_are_refused(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = evaluate_folder(
        made / "reference", made / "good", LABELS, workers=1, conventions=Conventions(hd95="pooled")
    )
    write_evaluation(other, tmp_path)
    assert run_main(monkeypatch, made / "evaluation_good", tmp_path) == 2
    assert "hd95_mm cannot be compared: hd95 is max_of_directed in A and pooled in B" in capsys.readouterr().err
    assert run(made / "evaluation_good", tmp_path, "--metric", "dice").exit_code == 0
