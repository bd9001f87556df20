"""The built pages in a real browser, from disk: links lead somewhere, formulas are drawn, nothing is asked of another machine."""

from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from browsing import Watched

pytestmark = pytest.mark.slow
LOOKED_AT = [  # a page of every kind, and those with most formulas and widest tables
    "index", "model", "beyond", "what-to-expect", "usage", "api", "explore", "how-it-compares", "gallery/index",
    "gallery/figure_two_phases", "tutorials/index", "tutorials/paper", "tutorials/own-field",
]
DRAWN = """() => {
  const asked = document.querySelectorAll(".math").length, drawn = document.querySelectorAll("mjx-container");
  const failed = document.querySelectorAll("mjx-merror, [data-mjx-error]").length;
  const flat = Array.from(drawn).filter(one => one.getBoundingClientRect().height < 4).length;
  return [asked, drawn.length, failed, flat];
}"""


class Links(HTMLParser):
    """What a page refers to, and the names that others can refer to."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.loaded, self.names = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.names.update(filter(None, (found.get("id"), found.get("name") if tag == "a" else None)))
        if tag == "a" and found.get("href"):
            self.targets.append(found["href"])
        if tag in ("img", "script", "iframe", "source") and found.get("src"):
            self.loaded.append(found["src"])
        if tag == "link" and found.get("href") and found.get("rel") in ("stylesheet", "icon", "preload"):
            self.loaded.append(found["href"])


def test_no_link_is_broken(pages):
    found = {path: Links(path.read_text(encoding="utf-8")) for path in pages.rglob("*.html")}
    assert len(found) > 30
    broken, checked = [], 0
    for path, links in found.items():
        for target in [*links.targets, *links.loaded]:
            address, anchor = urldefrag(target)
            if urlsplit(address).scheme:
                assert target not in links.loaded or address.startswith("data:"), f"{path.name} loads {target}"
                continue
            there = (path.parent / unquote(urlsplit(address).path)).resolve() if address else path
            checked += 1
            if not there.exists():
                broken.append(f"{path.relative_to(pages)}: {target}")
            elif anchor and there in found and unquote(anchor) not in found[there].names:
                broken.append(f"{path.relative_to(pages)}: {target}")
    assert checked > 1000 and sorted(set(broken)) == []


@pytest.mark.parametrize("width", [1300, 400])
@pytest.mark.parametrize("name", LOOKED_AT)
def test_a_page_is_whole(chromium, pages, name, width):
    watched = Watched(chromium, width)
    watched.page.goto((pages / f"{name}.html").as_uri())
    if watched.page.locator(".math").count():
        watched.page.wait_for_function("window.MathJax && MathJax.startup && MathJax.startup.promise")
        watched.page.evaluate("MathJax.startup.promise")
        asked, drawn, failed, flat = watched.page.evaluate(DRAWN)
        assert drawn >= asked > 0 and failed == flat == 0
    watched.page.evaluate("document.fonts.ready.then(() => true)")
    assert watched.page.evaluate("Array.from(document.images).filter(one => one.complete && !one.naturalWidth).length") == 0
    assert watched.left == [] and watched.failed == [] and watched.complaints == []
    assert watched.wide() <= 0  # what is wide scrolls in itself
    watched.page.close()


def test_formulas_on_every_page_that_should_have_them(pages):
    text = (pages / "model.html").read_text(encoding="utf-8")
    assert text.count('class="math') > 100  # the control for the test above: there is something to draw
    assert "mathjax/tex-chtml.js" in text and "cdn" not in text


def test_dark_mode_keeps_figures_readable(chromium, pages):
    watched = Watched(chromium)
    watched.page.emulate_media(color_scheme="dark")
    watched.page.goto((pages / "figures.html").as_uri())
    style = watched.page.locator("article img").first.evaluate(
        "image => [getComputedStyle(image).backgroundColor, getComputedStyle(document.body).backgroundColor]"
    )
    assert style[0] == "rgb(255, 255, 255)" and style[1] != style[0]
    watched.page.close()


def test_code_has_copy_buttons_that_leave_out_prompts(chromium, pages):
    watched = Watched(chromium)
    watched.page.goto((pages / "tutorials" / "paper.html").as_uri())
    button = watched.page.locator("button.copybtn").first
    button.wait_for(state="attached")
    watched.page.evaluate("addEventListener('copy', () => { window.copied = document.activeElement.value }, true)")
    button.click(force=True)
    copied = watched.page.wait_for_function("window.copied").json_value()
    assert copied.startswith("import dynsim\nproblem = ") and ">>>" not in copied
    watched.page.close()


def test_the_doors_of_the_landing_page_open(chromium, pages):
    watched = Watched(chromium)
    for door, behind in (("Learn", "tutorials/index"), ("Look", "gallery/index"), ("Look up", "api")):
        watched.page.goto((pages / "index.html").as_uri())
        card = watched.page.locator(".doors .sd-card").filter(has=watched.page.get_by_text(door, exact=True))
        card.click(position={"x": 12, "y": 12})
        watched.page.wait_for_url(f"**/{behind}.html")
    watched.page.goto((pages / "index.html").as_uri())
    watched.page.locator(".doors").get_by_role("link", name="commands").click()  # what a card names is a link of its own
    watched.page.wait_for_url("**/usage.html")
    moving = pages / "_images" / "moving.gif"
    assert moving.read_bytes().startswith(b"GIF8") and moving.stat().st_size < 2**20
    watched.page.close()
