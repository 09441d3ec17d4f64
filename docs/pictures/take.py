"""Take the tutorial's pictures again, from what its commands left: python docs/pictures/take.py work

Needs Chromium and Playwright, which `make test` brings.
"""

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).resolve().parent
FIGURES = {  # file: the page it is from, the heading above it, and which figures below that
    "tutorial_dataset": ("hippocampus/dataset.html", "Typical cases", (0, 1)),
    "tutorial_curves": ("report.html", "Training", (0, 1)),
    "tutorial_cases": ("report.html", "Worst cases first", (0, 5)),
}


def take(page: Page, heading: str, chosen: tuple[int, ...]) -> np.ndarray:
    """Give the chosen figures of a section side by side, as an image."""
    figures = page.locator("section", has=page.locator("h2", has_text=heading)).locator("figure")
    shots = [cv2.imdecode(np.frombuffer(figures.nth(at).screenshot(), np.uint8), cv2.IMREAD_COLOR) for at in chosen]
    height = max(len(shot) for shot in shots)
    padded = [np.pad(s, ((0, height - len(s)), (0, 0), (0, 0)), constant_values=255) for s in shots]
    return np.concatenate(padded, axis=1)


def main(work: Path) -> None:
    """Write every picture as WebP beside this script."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 900})
        for name, (file, heading, chosen) in FIGURES.items():
            page.goto((work / file).resolve().as_uri())
            picture = take(page, heading, chosen)
            cv2.imwrite(str(HERE / f"{name}.webp"), picture, [cv2.IMWRITE_WEBP_QUALITY, 85])
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
