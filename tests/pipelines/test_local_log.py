"""What KFP logs while steps run in parallel."""

import logging

import pytest

from ctrloom.runners.local import _one_log


def test_steps_that_end_in_another_order_keep_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    from kfp.local import logging_utils

    before = logging.getLogger().handlers[:]
    with _one_log():
        first, second = logging_utils.local_logger_context(), logging_utils.local_logger_context()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        logging.error("one still runs")
        second.__exit__(None, None, None)
        logging.error("none runs")
    output, errors = capsys.readouterr()
    assert [line.split(" - ")[1:] for line in output.splitlines()] == [
        ["ERROR", "one still runs"],
        ["ERROR", "none runs"],
    ]
    assert errors == ""
    assert logging.getLogger().handlers == before
