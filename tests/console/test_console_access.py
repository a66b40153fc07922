"""What someone needs who does not use a mouse, or does not see the page."""

from __future__ import annotations

from browser import Page
from fake_api import KEY, RunningFake

NAMELESS = """() => {
  const name = (node) =>
    node.getAttribute("aria-label") || node.labels?.[0]?.innerText || node.innerText;
  return [...document.querySelectorAll("button, a, input, select, textarea, summary, progress")]
    .filter((node) => !(name(node) ?? "").trim())
    .map((node) => node.outerHTML);
}"""


def test_every_control_has_a_name(page: Page) -> None:
    nameless = [page.do(lambda tab: tab.evaluate(NAMELESS))]
    page.sign_in()
    page.ask("Who signs?")
    page.wait(".cite")
    page.do(lambda tab: tab.get_by_text("How this was answered").click())
    nameless.append(page.do(lambda tab: tab.evaluate(NAMELESS)))
    page.do(lambda tab: tab.locator(".cite").first.click())
    nameless.append(page.do(lambda tab: tab.evaluate(NAMELESS)))
    page.do(lambda tab: tab.keyboard.press("Escape"))
    page.do(lambda tab: tab.evaluate("location.hash = 'documents'"))
    page.wait(".holdings")
    nameless.append(page.do(lambda tab: tab.evaluate(NAMELESS)))
    page.do(lambda tab: tab.get_by_role("button", name="New collection").click())
    nameless.append(page.do(lambda tab: tab.evaluate(NAMELESS)))
    assert nameless == [[]] * 5


def test_a_question_is_asked_and_its_source_read_with_the_keyboard_alone(page: Page) -> None:
    def journey(tab):
        keys = tab.keyboard
        keys.type(KEY)
        keys.press("Enter")
        tab.wait_for_selector("#question:focus")
        keys.type("Who signs?")
        keys.press("Shift+Enter")
        keys.type("Above 500 euros?")
        keys.press("Enter")
        tab.wait_for_selector(".cite")
        for _ in range(12):
            if tab.evaluate("document.activeElement.className") == "cite":
                break
            keys.press("Shift+Tab")
        keys.press("Enter")
        tab.wait_for_selector("dialog[open] mark")
        assert tab.evaluate("document.activeElement.getAttribute('aria-label')") == "Close"
        keys.press("Enter")
        tab.wait_for_selector("dialog", state="detached")
        return tab.locator(".question").inner_text()

    assert page.do(journey) == "Who signs?\nAbove 500 euros?"


def test_escape_stops_an_answer(page: Page) -> None:
    page.sign_in()
    page.ask("A slow and long question")
    page.wait(".streaming")
    page.do(lambda tab: tab.keyboard.press("Escape"))
    page.wait("text=Stopped")


def test_the_end_of_an_answer_is_announced(page: Page) -> None:
    page.sign_in()
    page.ask("Who signs?")
    page.wait(".cite")
    assert page.do(lambda tab: tab.locator("#announce").text_content()).startswith("Answered: The")


def test_the_theme_goes_round_and_is_remembered(page: Page) -> None:
    def themes(tab):
        seen = []
        for _ in range(3):
            tab.get_by_role("button", name="Theme").click()
            seen.append(
                tab.evaluate(
                    "[document.documentElement.dataset.theme,"
                    " getComputedStyle(document.body).backgroundColor]"
                )
            )
        return seen

    light, dark, auto = page.do(themes)
    assert [light[0], dark[0], auto[0]] == ["light", "dark", "auto"]
    assert light[1] != dark[1]


def test_text_and_controls_stand_out_from_their_ground(page: Page, fake: RunningFake) -> None:
    """Contrast by WCAG 2: 4.5 for text in both themes."""
    measure = """() => {
      const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
      const light = (colour) => {
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((part) => {
          const share = part / 255;
          return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const probe = document.createElement("i");
      document.body.append(probe);
      const value = (name) => {
        probe.style.color = `var(--${name})`;
        return light(getComputedStyle(probe).color);
      };
      const pairs = [["ink", "paper"], ["soft", "paper"], ["soft", "sunken"], ["soft", "sheet"],
        ["accent", "paper"], ["accent", "accent-wash"], ["accent-ink", "accent"],
        ["good", "good-wash"], ["warn", "warn-wash"], ["bad", "bad-wash"], ["bad", "sheet"],
        ["mark-ink", "mark"]];
      return pairs.map(([one, other]) => {
        const [high, low] = [value(one), value(other)].sort((a, b) => b - a);
        return [one, other, (high + 0.05) / (low + 0.05)];
      }).filter(([, , ratio]) => ratio < 4.5);
    }"""
    for scheme in ("light", "dark"):
        page.do(lambda tab, scheme=scheme: tab.emulate_media(color_scheme=scheme))
        assert page.do(lambda tab: tab.evaluate(measure)) == []
