"""The error for invalid input data."""

from ctrloom.config.errors import UserError


class DataError(UserError):
    """Invalid input data; the message names the file, line or column and how to fix it."""

    from_inputs = True


class DamagedDataError(DataError):
    """Files of a data set are missing, or not as they were written."""

    from_inputs = False


def too_many_values(total: int) -> DataError:
    """The error for fields whose ids do not fit into int32 together."""
    return DataError(
        f"the vocabularies have {total:,} values in total, but at most {2**31:,} are supported; "
        "raise vocabulary.min_count, or leave out the largest field"
    )
