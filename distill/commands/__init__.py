"""What a person types: each command is one frozen dataclass and the one function that takes it."""
