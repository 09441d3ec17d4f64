"""KiTS, the Kidney Tumour Segmentation Challenges of 2019, 2021 and 2023."""

from imgmed.recipes.layout import Layout

__all__ = ["RECIPE"]

RECIPE = Layout(
    name="kits",
    description="case_00000/imaging.nii.gz and case_00000/segmentation.nii.gz (KiTS)",
    image=r"(?P<case>case_\d+)/imaging",
    label=r"(?P<case>case_\d+)/(?P<kind>segmentation|aggregated_MAJ_seg)",
    kinds=("segmentation", "aggregated_MAJ_seg"),
    labels={"background": 0, "kidney": 1, "tumour": 2, "cyst": 3},
).recipe()
