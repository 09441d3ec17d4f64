"""Pictures taken out of a card's page, which may come from anywhere: PNGs with their words, and nothing else."""

import base64

import pytest

from r2d2.zoo.card.pictures import LARGEST_PICTURE, MOST_PICTURES, pictures_of_page

PNG = b"\x89PNG\r\n\x1a\n" + b"rest"


def figure(content: bytes = PNG, kind: str = "image/png", size: str = 'width="9" height="8"') -> str:
    source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    image = f'<img src="{source}" {size} alt="a &lt;slice&gt;">'
    return f"<figure>{image}<figcaption> Worst &amp; <b>so</b> on</figcaption></figure>"


def test_a_picture_with_its_words() -> None:
    (found,) = pictures_of_page(f"<img src='before.png'><p>text</p>{figure()}<p>after")
    assert (found.png, found.width, found.height) == (PNG, 9, 8)
    assert (found.alt, found.caption) == ("a <slice>", "Worst & so on")


@pytest.mark.parametrize(
    "page",
    [
        "",
        "<figure><figcaption>no image</figcaption></figure>",
        '<figure><img src="https://example.org/x.png" width="9" height="8"></figure>',
        '<figure><img src="data:image/png;base64,@@@" width="9" height="8"></figure>',
        figure(b"<svg onload=alert(1)>"),
        figure(kind="image/svg+xml"),
        figure(size='width="9"'),
        figure(size='width="9" height="-8"'),
        figure(PNG + bytes(LARGEST_PICTURE + 10)),
        figure().replace("<figure>", ""),
        figure().replace("</figure>", ""),
    ],
)
def test_what_is_no_picture_is_passed_over(page: str) -> None:
    assert pictures_of_page(page) == ()
    (kept,) = pictures_of_page(page + "</figure>" + figure())[-1:]
    assert kept.png == PNG


def test_of_very_many_the_first_ones() -> None:
    assert len(pictures_of_page(figure() * 50)) == MOST_PICTURES
