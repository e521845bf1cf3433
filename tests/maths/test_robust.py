"""Running medians against scipy."""

import numpy as np
import pytest

from nightpipe.maths.robust import running_median


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("size", [3, 15])
def test_running_medians_are_those_of_scipy(axis, size):
    from scipy.ndimage import median_filter

    image = np.random.default_rng(5).normal(size=(23, 31)).astype(np.float32)
    window = (size, 1) if axis == 0 else (1, size)
    np.testing.assert_array_equal(running_median(image, size, axis), median_filter(image, size=window, mode="nearest"))
