"""Where patches lie: by counting, over many draws."""

import numpy as np
import pytest

from dist_training.inputs.patches import PatchDraws, patch_of

SIZE = (4, 6, 6)


def label_map(shape: tuple[int, int, int] = (10, 20, 24)) -> np.ndarray:
    made = np.zeros(shape, np.uint8)
    made[2:8, 4:16, 4:16] = 1  # 864 voxels
    made[5, 10, 20:22] = 3  # 2 voxels
    return made


def test_a_third_is_around_foreground_and_the_rare_structure_has_its_turn() -> None:
    draws = PatchDraws([label_map(), label_map()], (1, 2, 3), SIZE, seed=4)
    drawn = [draws.draw(epoch, index) for epoch in range(9) for index in range(len(draws))]
    assert len(draws) == 2 * -(-10 * 20 * 24 // (4 * 6 * 6))
    around = [patch.around for patch in drawn]
    assert len(around) - around.count(None) == len(drawn) // 3
    assert abs(around.count(1) - around.count(3)) <= 9 and around.count(2) == 0
    for patch in drawn:
        cut = patch_of(label_map(), patch.corner, SIZE, outside=0)
        assert patch.around is None or (cut == patch.around).any()


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_the_share_is_what_was_asked_for(share: float) -> None:
    draws = PatchDraws([label_map()], (1, 3), SIZE, foreground_share=share)
    around = [draws.draw(epoch, index).around for epoch in range(2) for index in range(len(draws))]
    assert len(around) - around.count(None) == share * len(around)


def test_each_voxel_of_a_structure_is_as_likely_as_the_others() -> None:
    small = np.zeros((5, 9, 9), np.uint8)
    small[1, 4, 3:6] = small[3, 2:4, 4] = 1
    draws = PatchDraws([small], (1,), (1, 1, 1), foreground_share=1)
    corners = [draws.draw(epoch, index).corner for epoch in range(10) for index in range(len(draws))]
    found, counts = np.unique(corners, axis=0, return_counts=True)
    np.testing.assert_array_equal(found, np.argwhere(small))
    assert counts.min() > 0.9 * len(corners) / 5


def test_patches_that_lie_anywhere_reach_every_place_alike() -> None:
    draws = PatchDraws([np.zeros((6, 7, 8), np.uint8)], (1,), (4, 4, 4), foreground_share=1)  # no foreground
    corners = np.array([draws.draw(epoch, index).corner for epoch in range(2000) for index in range(len(draws))])
    for axis, places in enumerate((3, 4, 5)):
        counts = np.bincount(corners[:, axis])
        assert len(counts) == places and counts.min() > 0.95 * len(corners) / places


def test_a_draw_depends_on_seed_epoch_and_number_alone() -> None:
    one, other = (PatchDraws([label_map(), label_map()], (1, 3), SIZE, seed=seed) for seed in (0, 1))
    again = PatchDraws([label_map(), label_map()], (1, 3), SIZE, seed=0)
    drawn = [one.draw(epoch, index) for epoch in range(2) for index in range(len(one))]
    assert [again.draw(epoch, index) for epoch in range(2) for index in range(len(one))] == drawn
    assert [other.draw(epoch, index) for epoch in range(2) for index in range(len(one))] != drawn
    assert drawn[: len(one)] != drawn[len(one) :]


def test_a_volume_smaller_than_a_patch_lies_in_its_middle() -> None:
    thin = np.full((2, 30, 5), 7, np.uint8)
    draws = PatchDraws([thin], (7,), (5, 8, 8), foreground_share=0.5)
    for index in range(len(draws)):
        patch = draws.draw(0, index)
        assert patch.corner[0] == -1 and patch.corner[2] == -1 and 0 <= patch.corner[1] <= 22
        cut = patch_of(thin, patch.corner, (5, 8, 8), outside=0)
        assert cut.sum() == 7 * 2 * 8 * 5 and (cut[1:3, :, 1:6] == 7).all()
