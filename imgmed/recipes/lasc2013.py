"""The Left Atrial Segmentation Challenge 2013, as the Cardiac Atlas Project hands it out.

Training cases (a001 ...) hold image.mhd and gt_binary.mhd; test cases (b001 ...) image.mhd, gt_std.mhd and
gt_noclip.mhd.
Source: README of the challenge's benchmark repository (Tobon-Gomez et al., IEEE TMI 34(7), 2015).
"""

from imgmed.recipes.layout import Layout

__all__ = ["RECIPE"]

RECIPE = Layout(
    name="lasc2013",
    description="a001/image.mhd and a001/gt_binary.mhd, b001/image.mhd and b001/gt_std.mhd (LASC 2013)",
    image=r"(?P<case>[ab]\d+)/image",
    label=r"(?P<case>[ab]\d+)/(?P<kind>gt_binary|gt_std|gt_noclip|gt)",
    kinds=("gt_binary", "gt_std", "gt_noclip", "gt"),
).recipe()
