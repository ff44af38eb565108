"""The one root of the errors that a user can act on."""


class HandsightError(Exception):
    """Something the user can put right: its message says what, where, what was expected and what is available.

    The command line prints these as they are and exits with 2; any other exception is a defect and keeps its traceback.
    """
