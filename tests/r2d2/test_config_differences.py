"""Settings in which configurations differ: those alone, by their keys, in the order of the file."""

from r2d2.config import Configuration, configure
from r2d2.config_differences import ABSENT, differences


def made(*words: str) -> Configuration:
    return configure({}, assignments=words)


def test_only_what_differs_in_the_order_of_the_file() -> None:
    first = made("training.epochs=5", "training.seed=3", "workers=2")
    second = made("training.epochs=7", "training.seed=3", "transfer.start_from=runs/a")
    found = differences([first, second, first])
    assert [(one.key, one.values) for one in found] == [
        ("workers", (2, 1, 2)),
        ("training.epochs", (5, 7, 5)),
        ("transfer.start_from", (None, "runs/a", None)),
    ]
    assert all(one.description for one in found)
    rest = differences([first, second], besides=("training.", "workers"))
    assert [one.key for one in rest] == ["transfer.start_from"]
    assert differences([first, first]) == []


def test_networks_have_settings_of_their_own() -> None:
    found = {one.key: one.values for one in differences([made(), made("network.architecture=fcn")])}
    assert found["network.architecture"] == ("unet", "fcn")
    alone = {key for key, values in found.items() if ABSENT in values}
    assert alone
    assert all(key.startswith("network.") for key in alone)
    keys = [one.key for one in differences([made(), made("network.architecture=fcn", "training.epochs=3")])]
    assert keys.index("training.epochs") == len(keys) - 1, "those of the other network stand among the network's"


def test_absent_is_not_a_setting_that_is_null() -> None:
    fcn, unet = made("network.architecture=fcn"), made()
    values = [value for one in differences([fcn, unet]) for value in one.values]
    assert ABSENT in values
    assert [one.values for one in differences([made("threads=2"), unet])] == [(2, None)]
