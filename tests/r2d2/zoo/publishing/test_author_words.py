"""What an author says: the template, what is missing, what is wrong."""

from pathlib import Path

import pytest
import yaml

from r2d2.errors import ZooError
from r2d2.zoo.card.blocks import (
    Command,
    Paragraph,
    Points,
    Score,
    Section,
    Table,
    blocks_of_words,
    in_html,
    in_markdown,
)
from r2d2.zoo.publishing.author_words import AuthorWords, description_template, read_author_words
from tests.r2d2.zoo.publishing.trained_run import WORDS, prepare_study, write_run, write_words

REQUIRED = (
    "title, intended_use, not_for, known_failures, author, licence, attribution, data.name, data.licence, data.source"
)


def refusal(path: Path) -> str:
    with pytest.raises(ZooError) as caught:
        read_author_words(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.tensorflow
def test_the_template_names_all_that_is_asked_and_is_refused_until_it_is_filled_in(tmp_path: Path) -> None:
    template = description_template(write_run(prepare_study(tmp_path), tmp_path / "run").path)
    path = tmp_path / "card.yaml"
    path.write_text(template, encoding="utf-8")
    assert "a model that finds label_1, label_2 in image" in template
    assert refusal(path).endswith(f"{REQUIRED} must be filled in")
    content = yaml.safe_load(template)
    assert set(content) == set(AuthorWords.model_fields)
    assert template.count("#") >= len(AuthorWords.model_fields) + len(content["data"])
    path.write_text(yaml.safe_dump({**content, **WORDS}), encoding="utf-8")
    assert read_author_words(path).licence == "MIT AND CC-BY-SA-4.0"


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    assert "titel: unknown key; did you mean title?" in refusal(write_words(tmp_path, titel="x"))
    assert "licence: must be an SPDX expression, such as MIT" in refusal(write_words(tmp_path, licence="free for all"))
    assert "data.name, data.licence, data.source must be filled in" in refusal(write_words(tmp_path, data="ours"))
    assert "title: must be text; received 3" in refusal(write_words(tmp_path, title=3))
    assert "title: must have at most 200 letters" in refusal(write_words(tmp_path, title="x" * 201))
    assert "there is no" in refusal(write_words(tmp_path, licence_file="none.txt"))
    path = tmp_path / "other.yaml"
    assert "no such file" in refusal(path)
    path.write_text("a: [", encoding="utf-8")
    assert "is not YAML" in refusal(path)
    path.write_text("words", encoding="utf-8")
    assert "must hold keys with values" in refusal(path)


def test_blocks_are_written_as_they_were_given() -> None:
    """Nothing that an author writes is taken for HTML or Markdown."""
    odd = "<i>1 | 2</i> *a* _b_ [c](d) `e` \\ # ~f~"
    blocks = [
        Paragraph(f"1. {odd}"),
        Points([("W", odd)]),
        Command("r2d2 a < b"),
        Table(odd, [odd, "x"], [[odd, Score("1", odd)]]),
    ]
    page, text = in_html(odd, odd, [odd], [Section(odd, blocks)]), in_markdown(odd, odd, [odd], [Section(odd, blocks)])
    assert "<i>" not in page and page.count("&lt;i&gt;1 | 2&lt;/i&gt;") == 12
    assert "<i>" not in text.replace("\\<i\\>", "") and text.count(r"\<i\>1 \| 2\</i\> \*a\* \_b\_ \[c\](d)") == 10
    assert r"1\. \<i\>" in text and "    r2d2 a < b" in text
    assert blocks_of_words("a\nb\n\n\n- c\n- d\n") == [Paragraph("a b"), Points([("", "c"), ("", "d")])]
