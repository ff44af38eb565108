"""What a policy remembers by: the kinds of `RecurrentCore`, for configurations, which import no torch."""

from typing import Literal

Memory = Literal["none", "gru", "lstm"]
