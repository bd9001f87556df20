"""What servers leave behind is collected here: a port that is taken leaves Bokeh with a socket that nothing closes."""

import gc
import warnings

import pytest


@pytest.fixture(autouse=True, scope="module")
def collected():
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
