"""The page that `lowtide compare` writes, in a real browser."""
import struct
import zlib

import browser
import pytest
from conftest import PYTHON, call
from test_compare import JOB

SCREENS = [(1280, 900, False), (1280, 900, True), (390, 844, False), (390, 844, True)]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    directory = tmp_path_factory.mktemp("page")
    done = call("compare", "-n", "2", "--no-warm-up", "--with", "all", "--idle", "1", "--out", directory, "--",
                PYTHON, "-c", JOB + "time.sleep(60)", "<script>alert('&')</script>", "a-very-long-argument-" * 12)
    assert done.code == 0, done.err
    return directory / "report.html"


@pytest.fixture(scope="module")
def chromium():
    if not browser.find():
        pytest.skip("no chromium to look at the report with")
    opened = browser.Browser()
    yield opened
    opened.close()


def colours(png):
    """How many different bytes the picture's rows have: a blank page has next to none."""
    data, at = b"", 8
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at:at + 8])
        data += png[at + 8:at + 8 + size] if kind == b"IDAT" else b""
        at += size + 12
    return len(set(zlib.decompress(data)))


def test_needs_nothing_else(page):
    text = page.read_text()
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "") and "https://" not in text
    assert "<script" not in text and "&lt;script&gt;" in text


@pytest.mark.parametrize("width, height, dark", SCREENS)
def test_on_screens(chromium, page, width, height, dark):
    chromium.open(page, width, height, dark)
    png = chromium.picture(page.parent / f"{width}-{'dark' if dark else 'light'}.png")
    assert colours(png) > 100
    assert chromium.value("document.documentElement.scrollWidth") <= width
    assert chromium.value("[...document.querySelectorAll('.table')].every(t => t.scrollWidth <= t.clientWidth)")
    shown = ("[...document.querySelectorAll('svg.chart')].filter(s => s.getBoundingClientRect().height > 0)"
             ".flatMap(s => [...s.querySelectorAll('polyline.main')]).filter(p => p.getTotalLength() > 50).length")
    assert chromium.value(shown) >= 3
    assert chromium.complaints() == []
    light = chromium.value("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
    assert light < 60 if dark else light > 200


CONTRAST = """
(() => {
  const rgb = t => t.match(/[\\d.]+/g).map(Number);
  const shine = c => { const [r, g, b] = c.slice(0, 3).map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b; };
  const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  let least = 99;
  for (const e of document.querySelectorAll('h1,h2,p,dt,dd,td,th,small,figcaption,li,pre,svg text,svg .main')) {
    if (!e.getClientRects().length) continue;
    const s = getComputedStyle(e), svg = e.namespaceURI.includes('svg');
    const ink = rgb(e.matches('.main') ? s.stroke : svg ? s.fill : s.color);
    const [a, b] = [shine(ink), shine(ground(svg ? e.closest('figure') : e))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    least = Math.min(least, e.matches('.main') ? ratio * 1.5 : ratio);
  }
  return least;
})()
"""


@pytest.mark.parametrize("dark", [False, True])
def test_contrast(chromium, page, dark):
    """4.5 for text, 3 for curves."""
    chromium.open(page, 1280, 900, dark)
    assert chromium.value(CONTRAST) >= 4.5


def test_pictures_have_words(chromium, page):
    chromium.open(page, 1280, 900)
    assert chromium.value("[...document.querySelectorAll('svg')].every(s => s.getAttribute('aria-label').length > 20)")
    assert chromium.value("document.documentElement.lang") == "en"
    assert chromium.value("document.querySelectorAll('tbody th[scope=row]').length") >= 3
    assert chromium.value("document.querySelectorAll('h1').length") == 1


def test_on_paper(chromium, page):
    chromium.open(page, 794, 1123, dark=True, media="print")
    assert chromium.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    pdf = chromium.call("Page.printToPDF", printBackground=False)["data"]
    assert len(pdf) > 10000


def test_picture_for_documents(chromium, page):
    chromium.open(page.parent / "curves.svg", 920, 400)
    assert chromium.value("document.querySelectorAll('polyline.main').length") >= 3
    assert chromium.complaints() == []
