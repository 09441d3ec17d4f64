"""Linear enlargement against SciPy's interpolation, in every precision."""

import numpy as np
import pytest
import scipy.ndimage

from dist_training.architectures.enlargement import LinearEnlargement


@pytest.mark.parametrize(("size", "strides"), [((5, 4), (2, 2)), ((3, 1, 4), (2, 2, 2)), ((3, 5, 2), (1, 4, 3))])
def test_equals_interpolation_between_the_centres_of_pixels(size: tuple[int, ...], strides: tuple[int, ...]) -> None:
    maps = np.random.default_rng(0).normal(size=(2, *size, 3))
    places = [(np.arange(length * stride) + 0.5) / stride - 0.5 for length, stride in zip(size, strides, strict=True)]
    grid = np.meshgrid(*places, indexing="ij")
    expected = np.stack(
        [
            np.stack(
                [scipy.ndimage.map_coordinates(sample[..., c], grid, order=1, mode="nearest") for c in range(3)],
                axis=-1,
            )
            for sample in maps
        ]
    )
    layer = LinearEnlargement(strides, dtype="float64")
    found = np.asarray(layer(maps))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert layer.compute_output_shape((None, *size, 3)) == (None, *found.shape[1:])
    for dtype in ("float32", "float16"):
        rounded = np.asarray(LinearEnlargement(strides, dtype=dtype)(maps.astype(dtype)))
        assert rounded.dtype == dtype
        np.testing.assert_allclose(rounded, expected, atol=1e-2 if dtype == "float16" else 1e-6)
