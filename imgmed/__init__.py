"""ImgMed: medical volumes in, prepared datasets and slices out. Names are imported on first use.

- one scan: `read_volume`, `read_header`, `read_label`, `write_volume`; operations: `Scan`, `apply_operations` and the
  steps in `imgmed.operations`;
- a folder of scans: `inspect_source` shows what it holds, `read_study` lists its cases, `prepare_dataset` makes a
  `PreparedDataset` of it by `PreparationSettings`, and `read_fingerprint` tells what is odd about it;
- slices for training: `select_slices`, `with_neighbours`, `Normalisation`, `draw_sample` and `apply_draw`;
- a new scan: `prepare_scan` does to it what was done to the dataset, its `SliceGrid` leads back into its own voxels;
- pictures: `convert_folder`.

Packages: formats/ files of volumes, recipes/ layouts of folders, operations/ steps on a scan, augmentation/ variants of
slices, preparation/ from a folder to a dataset, splits/ division of cases, leaks and copies, fingerprint/ measures and
odd cases, privacy/ patients' names, conversion/ pictures.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
