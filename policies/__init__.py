"""What every policy is made of: the contract, the normaliser, the recurrent core and the Gaussian head."""

from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from .finite import FiniteSteps, NotFiniteError, check_finite, finite, finite_rows
    from .gaussian import GaussianHead, entropy, kl_divergence, log_prob
    from .normalize import RunningMeanStd, moments
    from .policy import Policy, zero_where_first
    from .recurrent import RecurrentCore

lazy.attach(__name__)
