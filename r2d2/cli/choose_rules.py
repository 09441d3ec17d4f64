"""r2d2 choose-rules: which rules set a model's label maps right, by evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from r2d2.cli.environment import quiet_tensorflow

if TYPE_CHECKING:
    from r2d2.prediction.rule_record import RuleChoice, RuleTrial
    from r2d2.tasks.postprocessing import RuleChoiceResult

__all__ = ["EXAMPLE", "choose_rules", "echo_choice"]

EXAMPLE = "Example: r2d2 choose-rules --model work/run --dataset work/hippocampus"

WIDTH = 80


def choose_rules(
    model: Path = typer.Option(
        ...,
        help="Run folder of 'r2d2 train', or of a cross-validation, whose networks predict their own cases.",
    ),
    dataset: Path = typer.Option(..., help="The prepared dataset that the model was trained on."),
    alpha: float = typer.Option(0.05, help="Odds that rules are kept where none helps."),
    trust_code: bool = typer.Option(
        False, "--trust-code", help="Import the module that the model's card names for layers of its own."
    ),
    verbose: bool = typer.Option(False, "-v", "--verbose", help="Show TensorFlow's own messages."),
) -> None:
    """Try rules on a model's validation cases, and write into its card those that a test says help.

    Rules: the largest part of a label, parts of a smallest size, parts at another label, filled holes. Test cases are
    never looked at.
    """
    quiet_tensorflow(verbose)
    from pydantic import ValidationError

    from r2d2.cli.progress import stages
    from r2d2.tasks.postprocessing import ChooseRulesSettings
    from r2d2.tasks.postprocessing import choose_rules as choose
    from r2d2_base.errors import ConfigurationError
    from r2d2_base.settings_faults import settings_faults

    try:
        asked = ChooseRulesSettings(model=model, dataset=dataset, alpha=alpha, trust_code=trust_code)
    except ValidationError as error:
        raise ConfigurationError("; ".join(settings_faults(error, ChooseRulesSettings))) from error
    with stages() as report:
        result = choose(asked, progress=report)
    echo_choice(result)


def echo_choice(result: RuleChoiceResult) -> None:
    """Print what was tried and kept, and where it stands."""
    from r2d2.reports.formatting import plural

    choice = result.choice
    if choice.tested:
        _print_tested(choice)
    untested = len(choice.trials) - len(choice.tested)
    if untested:
        typer.echo(f"{plural(untested, 'more rule')} changed nothing, or nothing that another did not")
    if choice.note:
        typer.echo(f"note: {choice.note}", err=True)
    if choice.kept and choice.dice is not None and choice.dice_with_rules is not None:
        typer.echo(f"mean Dice {choice.dice:.4f} without rules, {choice.dice_with_rules:.4f} with those that are kept")
    where = str(result.cards[0]) if len(result.cards) == 1 else f"{len(result.cards)} cards"
    kept = f"kept {plural(len(choice.kept), 'rule')}" if choice.kept else "kept no rule"
    typer.echo(f"{kept}; wrote {where} and {result.record}", err=True)


def _print_tested(choice: RuleChoice) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from r2d2.reports.formatting import plural

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    of = "validation cases" if choice.cases_from == "validation" else "cases, each by the network that held it out"
    console.print(f"{choice.cases} {of}, {plural(choice.patients, 'patient')}")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("rule", overflow="fold")
    for name in ("changed", "Dice change \\[95 % interval]", "p (Holm)"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for trial in choice.tested:
        table.add_row(Text(trial.rule.text), str(trial.changed), Text(_difference(trial)), _p(trial), trial.verdict)
    console.print(table)


def _difference(trial: RuleTrial) -> str:
    interval = "" if trial.low is None else f" [{trial.low:+.4f}, {trial.high:+.4f}]"
    return f"{trial.difference:+.4f}{interval}"


def _p(trial: RuleTrial) -> str:
    p = 1.0 if trial.p_holm is None else trial.p_holm
    return "<0.001" if p < 0.001 else f"{p:.3f}"
