"""More worlds than memory allows are refused before anything is allocated."""

import pytest

from handsight import sims
from handsight.errors import HandsightError


@pytest.mark.parametrize("observe", [["state"], ["depth", "stereo"]])
def test_too_many_worlds_are_refused_with_the_number_that_fits(observe):
    with pytest.raises(HandsightError, match=r"100,000,000 worlds of about 0\.\d MiB .* at most [\d,]+ fit"):
        sims.make(sims.EnvConfig(), observe, 100_000_000)
