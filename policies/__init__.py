"""What every policy is made of: the contract, the normaliser, the recurrent core and the Gaussian head."""

from .gaussian import GaussianHead, entropy, kl_divergence, log_prob
from .normalize import RunningMeanStd, moments
from .policy import Policy, zero_where_first
from .recurrent import RecurrentCore

__all__ = [
    "GaussianHead",
    "Policy",
    "RecurrentCore",
    "RunningMeanStd",
    "entropy",
    "kl_divergence",
    "log_prob",
    "moments",
    "zero_where_first",
]
