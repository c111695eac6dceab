"""A gallery in a real browser: it asks for nothing, turns together, filters, sorts, and shows meshes in 3D."""

import io
import time
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from tests.browser import browser, needs_browser
from tests.experiments.gallery.made_up import ball, finish
from threestudio_like.experiments import gallery

pytestmark = [needs_browser, pytest.mark.slow]
ODD = "<script>document.title = 'caught'</script><img src=x onerror=alert(1)> averyveryverylongwordthatdoesnotbreak" * 2
SHOWN = "cards.filter((card) => !card.hidden && card.checkVisibility()).map((card) => card.dataset.folder)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown") / "outputs"
    finish(folder / "a", mesh=ball(), train_seconds=90, psnr=20.0)
    finish(folder / "b", "a blue mug", "geco", color=(40, 60, 200), mesh=ball(2, (0.1, 0.2, 0.9)), train_seconds=30)
    finish(folder / "c", ODD, "geco", train_seconds=60, psnr=25.0)
    finish(folder / "d", "a cup", "geco", status="failed", reason="the loss is not finite")
    for i in range(30):
        finish(folder / f"e{i:02}", f"prompt {i}", "fantasia3d")
    gallery.write(folder, folder / "gallery.html")
    return folder


@pytest.fixture(scope="module")
def chromium():
    with browser() as page:
        yield page


@pytest.fixture
def page(chromium, folder):
    """The gallery as it is when it has been opened."""
    chromium.problems.clear()
    chromium.requests.clear()
    chromium.size(1280, 900)
    chromium.dark(False)
    chromium.go((folder / "gallery.html").as_uri())
    chromium.wait("document.querySelector('.sheet').dataset.frame !== undefined", "the first frame")
    yield chromium
    assert chromium.problems == []
    assert [unquote(address) for address in chromium.requests] == [(folder / "gallery.html").as_uri()]


def colors(page) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"), np.int16)


def choose(page, name: str, value: str) -> None:
    """Ticks a filter, or fills in a search or an order, as a user does."""
    page.run(f"""(() => {{
        const fields = [...bar.querySelectorAll('[name={name}]')];
        const box = fields.find((one) => one.type === 'checkbox' && one.value === '{value}');
        if (box) return box.click();
        fields[0].value = '{value}';
        fields[0].dispatchEvent(new Event('input', {{bubbles: true}}));
    }})()""")


def test_a_prompt_is_a_text(page):
    assert page.run("document.title") == "Runs in outputs"
    assert page.run("cards[2].querySelector('h3').textContent") == ODD
    assert page.run("document.querySelectorAll('h3 *, .below *').length") == 0


def test_turntables_turn_together(page):
    state = "[...onScreen].filter((one) => one.dataset.frames > 1).map((one) => one.style.transform)"
    before = page.run(state)
    assert len(before) >= 4 and len(set(before)) == 1
    page.wait(f"JSON.stringify({state}.slice(0, 1)) !== '{page.run(f'JSON.stringify({state}.slice(0, 1))')}'", "a turn")
    assert len(set(page.run(state))) == 1
    assert page.run("onScreen.size") < page.run("document.querySelectorAll('.sheet').length"), "only what is seen"


def test_a_pause_stops_them(page):
    page.run("document.querySelector('.bar [data-do=turn]').click()")
    before = page.run("clock.share")
    time.sleep(0.5)
    assert page.run("clock.share") == before


def test_filters_leave_what_they_say(page):
    choose(page, "method", "geco")
    assert page.run(SHOWN) == ["b", "c", "d"]
    choose(page, "status", "failed")
    assert page.run(SHOWN) == ["d"] and page.run("count.value") == "1 of 34 results"
    choose(page, "status", "failed")
    choose(page, "method", "geco")
    choose(page, "search", "MUG blue")
    assert page.run(SHOWN) == ["b"]


def test_sorting_puts_the_best_first_and_what_has_no_figure_last(page):
    order = "[...list.children].slice(0, 4).map((card) => card.dataset.folder).join('')"
    choose(page, "sort", "train_seconds")
    assert page.run(order) == "bcad"
    choose(page, "sort", "psnr")
    assert page.run(order) == "cabd"
    assert page.run("list.firstElementChild.querySelector('.sorted dd').textContent") == "25.0"
    page.run("bar.elements.backwards.click()")
    assert page.run(order) == "acbd"
    choose(page, "sort", "folder")
    page.run("bar.elements.backwards.click()")
    assert page.run(order) == "abcd"


def test_a_mesh_is_shown_in_3d_and_turns_under_the_mouse(page):
    page.run("clock.turning = false; clock.share = 0; cards[0].querySelector('.turn').click()")
    page.wait("viewer.panes[0]?.canvas?.width > 0", "the mesh")
    box = page.run("(({x, y, width}) => [x, y, width])(viewer.panes[0].canvas.getBoundingClientRect())")
    x, y, width = (int(value) for value in box)
    seen = colors(page)[y : y + width, x : x + width]
    middle, corner = seen[width // 2, width // 2], seen[20, 20]
    assert middle[0] > 2 * middle[2] and abs(corner - 217).max() < 4, "the ball is red, on the turntables' grey"
    page.drag(x + width / 2, y + width / 2, x + width / 2 + width / 4, y + width / 2)
    page.wait("Math.abs(viewer.controls.getAzimuthalAngle()) > 1.2", "the drag")
    time.sleep(1)
    turned = colors(page)[y : y + width, x : x + width]
    assert (np.abs(turned - seen).max(-1) > 30).sum() > 2000, "from its side the ball is longer"
    page.run("document.querySelector('.tools [data-do=shape]').click()")
    time.sleep(0.5)
    bare = colors(page)[y + width // 2, x + width // 2]
    assert bare.max() - bare.min() < 6 and page.run("viewer.isOpen")
    page.run("document.querySelector('.tools [data-do=close]').click()")
    assert not page.run("viewer.isOpen")


def test_several_are_side_by_side_and_turn_together(page):
    page.run("[0, 1, 2].forEach((i) => cards[i].querySelector('.pick input').click())")
    assert page.run("tray.hidden") is False
    page.run("tray.querySelector('[data-do=compare]').click()")
    shares = "viewer.panes.map((one) => one.pane.dataset.share)"
    page.wait(f"{shares}.every((share) => share !== undefined)", "three panes")
    before = page.run(shares)
    page.wait(f"{shares}[0] !== '{before[0]}'", "a turn")
    now = page.run(f"[{shares}, viewer.panes.map((one) => Boolean(one.shape))]")
    assert len(set(now[0])) == 1 and now[1] == [True, True, False]
    tops = page.run("viewer.panes.map((one) => one.pane.getBoundingClientRect().top)")
    assert len(set(tops)) == 1
    best = page.run("[...document.querySelectorAll('.numbers .best')].map((cell) => cell.textContent)")
    assert best == ["25.0", "30"]
    page.ask("Input.dispatchKeyEvent", type="keyDown", key="Escape", code="Escape", windowsVirtualKeyCode=27)
    page.wait("!viewer.isOpen && viewer.panes.length === 0", "the end of the view")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(page, width):
    page.size(width, 844)
    assert page.run("document.documentElement.scrollWidth") <= width
    page.run("cards[0].querySelector('.turn').click()")
    assert page.run("viewer.dialog.scrollWidth <= viewer.dialog.clientWidth && viewer.dialog.clientWidth <= innerWidth")
    page.run("viewer.close()")


def test_dark_mode_is_dark_and_light_is_light(page):
    assert colors(page)[3, 3].min() > 240
    page.dark(True)
    assert colors(page)[3, 3].max() < 40


def test_print_has_all_cards(page):
    content = page.pdf()
    assert content.startswith(b"%PDF") and content.count(b"/Type /Page\n") >= 2
    assert content.count(b"/Subtype /Image") >= 1, "backgrounds are not printed, the pictures are"


def test_an_address_opens_what_it_names(page, folder):
    page.run("[1, 0].forEach((i) => cards[i].querySelector('.pick input').click()); doings.compare()")
    address = page.run("location.href")
    assert address.endswith("gallery.html#a&b")
    page.run("viewer.close()")
    assert page.run("location.href") == (folder / "gallery.html").as_uri()
    page.go("about:blank")
    page.go(address)
    assert page.run("viewer.cards.map((card) => card.dataset.folder)") == ["a", "b"]
    page.requests[:] = page.requests[:1]  # of three loads of the same page


def test_a_card_out_of_sight_costs_nothing(page):
    assert page.run("getComputedStyle(cards.at(-1)).contentVisibility") == "auto"
    assert page.run("document.documentElement.scrollHeight") > 1500
    page.run("scrollTo(0, document.body.scrollHeight)")
    page.wait("[...onScreen].some((sheet) => sheet.closest('.card') === cards.at(-1))", "the last card to be seen")
