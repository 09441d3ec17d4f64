"""LiTS, the Liver Tumour Segmentation Challenge of 2017."""

from imgmed.recipes.layout import Layout

__all__ = ["RECIPE"]

RECIPE = Layout(
    name="lits",
    description="volume-0.nii and segmentation-0.nii, in one or several folders (LiTS)",
    image=r"volume-(?P<case>\d+)",
    label=r"segmentation-(?P<case>\d+)",
    labels={"background": 0, "liver": 1, "tumour": 2},
).recipe()
