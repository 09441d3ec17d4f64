"""make demo's command: from nothing to a report, with two Horovod workers, and a network that has learned."""

import subprocess
import sys
from pathlib import Path

import pytest

from segeval import read_evaluation

pytestmark = [pytest.mark.end_to_end, pytest.mark.distributed]


@pytest.mark.parametrize("epochs", [2, pytest.param(None, marks=pytest.mark.long)])
def test_the_demo_trains_evaluates_and_reports(tmp_path: Path, epochs: int | None) -> None:
    """Two epochs are enough to find the organ, not its lesions."""
    choice = [] if epochs is None else ["--epochs", str(epochs)]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("r2d2")), "demo", *choice],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "r2d2-demo"
    evaluation = read_evaluation(folder / "evaluation")
    if epochs is None:
        assert evaluation.foreground["dice"].mean >= 0.85
    else:
        assert evaluation.means["dice"]["organ"].mean > 0.5
    assert len(evaluation.cases) >= 3
    for path in ("report.html", "run/model.keras", "predictions/prediction.json", "evaluation/summary.json"):
        assert (folder / path).is_file()
        assert path.split("/")[0] in done.stderr
    assert "[6/6] a trained network, zoo:" in done.stderr and "Next, with scans of your own" in done.stderr
    assert "Traceback" not in done.stderr
    assert (folder / "run" / "logs" / "rank-1.log").is_file(), "two workers"
