"""The explorer's widgets, without a browser."""

import pytest

from dynsim.explore import answers
from dynsim.explore._texts import patches

pytest.importorskip("bokeh")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Bokeh's own


@pytest.mark.parametrize(("name", "value", "meant"), [("gamma", 0.30999999999999994, 0.31), ("P", 13.2, patches(13.2))])
def test_an_answer_leaves_a_slider_where_a_hand_has_put_it(name, value, meant):
    """What the server sends back arrives later, and would undo moves that were made meanwhile."""
    from bokeh.document import Document

    from dynsim.explore._page import Page

    page = Page(Document(), answers.DEFAULTS)
    slider, sent = page.sliders[name], []
    slider.value = value
    page.document.on_change(lambda event: sent.append((event.model, event.attr)))
    page.show()
    assert page.settings[name] == meant and slider.value == value
    assert (page.curves, "data") in sent and (slider, "value") not in sent
    page.settings[name] = answers.DEFAULTS[name]  # control: what was set elsewhere moves it
    page.show()
    assert (slider, "value") in sent and slider.value == page._on_slider(name)
