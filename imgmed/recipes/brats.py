"""BraTS, the Brain Tumour Segmentation Challenges: names up to 2021 (_t1ce) and from 2023 on (-t1c)."""

from imgmed.recipes.layout import Layout

__all__ = ["RECIPE"]

RECIPE = Layout(
    name="brats",
    description="a file for each channel: CASE_t1, CASE_t1ce, CASE_t2, CASE_flair and CASE_seg, or CASE-t1n, CASE-t1c,"
    " CASE-t2w, CASE-t2f and CASE-seg (BraTS)",
    image=r"(?P<case>[^/]+?)[_-](?P<channel>t1|t1n|t1ce|t1c|t1gd|t2|t2w|flair|t2f)",
    label=r"(?P<case>[^/]+?)[_-]seg",
    channels=(
        ("T1", ("t1", "t1n")),
        ("T1c", ("t1ce", "t1c", "t1gd")),
        ("T2", ("t2", "t2w")),
        ("FLAIR", ("flair", "t2f")),
    ),
    # BraTS-GLI-00005-001 is the second visit of patient 00005
    patient=r"^(BraTS-[A-Z]+-\d+)-\d+$",
).recipe()
