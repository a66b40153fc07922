from __future__ import annotations

import time

import pytest
from browser import Page
from fake_api import KEY, RunningFake
from fake_platform import ANSWER, NO_ANSWER, PASSAGES


def test_a_wrong_key_is_refused_and_the_right_one_is_kept_in_the_tab_only(page: Page) -> None:
    def refused(tab):
        tab.get_by_label("API key").fill("wrong")
        tab.keyboard.press("Enter")
        return tab.get_by_text("This key is not known here.").wait_for()

    page.do(refused)
    page.sign_in()
    stored = page.do(lambda tab: tab.evaluate("[{...sessionStorage}, {...localStorage}]"))
    assert KEY in stored[0].values()
    assert KEY not in str(stored[1])
    assert KEY not in page.do(lambda tab: tab.url)
    assert page.do(lambda tab: tab.context.cookies()) == []


def test_a_reload_keeps_one_signed_in_and_signing_out_forgets(page: Page) -> None:
    page.sign_in()
    page.do(lambda tab: tab.reload())
    page.wait("#question:not([disabled])")
    page.do(lambda tab: tab.get_by_role("button", name="Sign out").click())
    page.wait("#key")
    assert page.do(lambda tab: tab.evaluate("sessionStorage.length")) == 0


def test_a_key_revoked_meanwhile_leads_back_to_the_door(page: Page, fake: RunningFake) -> None:
    page.sign_in()
    fake.platform.failures.append(("/v1/query", 401, {}))
    page.ask("Who signs?")
    page.wait("#key")
    assert "no longer good" in page.text("#key-error")


def test_an_answer_streams_and_ends_with_citations_that_open_the_passage(page: Page) -> None:
    page.sign_in()
    page.ask("A slow question: who signs?")
    page.wait(".streaming")
    page.wait(".cite")
    answer = page.text(".answer")
    assert "".join(answer.split()) == "".join(ANSWER.replace("[", "").replace("]", "").split())
    page.do(lambda tab: tab.get_by_role("button", name="Passage 1: Travel").click())
    assert page.text("dialog h2") == "Travel handbook"
    assert "Page 4" in page.text("dialog .where")
    assert page.text("dialog mark") == PASSAGES[0][5]
    page.do(lambda tab: tab.keyboard.press("Escape"))
    page.wait("dialog", state="detached")
    focused = page.do(lambda tab: tab.evaluate("document.activeElement.className"))
    assert focused == "cite"


def test_a_marker_that_names_no_passage_stays_text(page: Page) -> None:
    page.sign_in()
    count = page.do(
        lambda tab: tab.evaluate(
            """async () => {
              const { answerNodes } = await import("/static/answer.js");
              const nodes = answerNodes("a [1] b [9]", [{ number: 1, title: "t" }], () => {});
              return nodes.filter((node) => node.className === "cite").length;
            }"""
        )
    )
    assert count == 1


def test_how_it_was_answered_shows_scores_and_stage_times(page: Page) -> None:
    page.sign_in()
    page.ask("Who signs?")
    page.do(lambda tab: tab.get_by_text("How this was answered").click())
    body = page.text(".evidence-body")
    for word in ("Meaning", "Words", "Rerank", "0.770", "Search", "12 ms", "Total", "702 ms"):
        assert word in body
    assert page.do(lambda tab: tab.locator(".waterfall .span").count()) == 8


def test_labels_tell_cached_degraded_and_unanswered(page: Page) -> None:
    page.sign_in()
    page.ask("cached degraded question")
    page.wait(".cite")
    assert page.text(".labels").split("\n") == ["Cached", "Answered without the reranker"]
    page.ask("unknown thing")
    page.wait("text=Not in the documents")
    assert page.text(".answer") == NO_ANSWER


def test_stopping_ends_the_answer_and_tells_the_server(page: Page, fake: RunningFake) -> None:
    page.sign_in()
    page.ask("A slow and long question")
    page.wait(".streaming")
    page.do(lambda tab: tab.get_by_role("button", name="Stop").click())
    page.wait("text=Stopped")
    deadline = time.monotonic() + 5
    while not fake.platform.stopped_streams:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    page.do(lambda tab: tab.get_by_role("button", name="Ask", exact=True).wait_for())


def test_a_failure_keeps_what_was_said_and_offers_another_try(page: Page) -> None:
    page.sign_in()
    page.ask("break it")
    page.wait(".failure")
    assert "The model stopped answering." in page.text(".failure")
    assert "generation_unavailable · request req_7f3a" in page.text(".failure")
    assert page.text(".prose").startswith("The head of the department")
    assert page.do(lambda tab: tab.get_by_role("button", name="Try again").is_enabled())


def test_too_many_questions_are_told_how_long_to_wait(page: Page) -> None:
    page.sign_in()
    page.ask("too often")
    page.wait(".failure button:disabled")
    assert "Try again in" in page.text(".failure button")


def test_the_conversation_and_the_kind_of_answer_travel_with_a_question(
    page: Page, fake: RunningFake
) -> None:
    page.sign_in()
    page.ask("Who signs?")
    page.wait(".cite")
    page.do(lambda tab: tab.get_by_label("Quote the documents").check())
    page.ask("And below that?")
    page.wait(".turn:nth-child(2) .cite")
    asked = fake.platform.questions[-1]
    assert asked["answer"] == "extract"
    assert [turn["role"] for turn in asked["history"]] == ["user", "assistant"]
    page.do(lambda tab: tab.get_by_role("button", name="New conversation").click())
    page.ask("Anew")
    page.wait(".cite")
    assert fake.platform.questions[-1]["history"] == []


def test_an_answer_can_be_copied_as_markdown(page: Page) -> None:
    page.do(lambda tab: tab.context.grant_permissions(["clipboard-read", "clipboard-write"]))
    page.sign_in()
    page.ask("Who signs?")
    page.do(lambda tab: tab.get_by_role("button", name="Copy as Markdown").click())
    page.wait("text=Copied")
    copied = page.do(lambda tab: tab.evaluate("navigator.clipboard.readText()"))
    assert copied.startswith(f"> Who signs?\n\n{ANSWER}\n\n- [1] Travel handbook")


def test_what_documents_say_is_never_markup(page: Page, fake: RunningFake) -> None:
    nasty = "<img src=x onerror=document.title='owned'><script>1</script>"
    fake.platform.add_document("handbook", nasty, nasty, 1)
    page.sign_in()
    page.ask(nasty)
    page.wait(".cite")
    assert page.text(".question") == nasty
    page.do(lambda tab: tab.get_by_role("link", name="Documents", exact=True).click())
    page.wait(f"text={nasty}")
    assert page.do(lambda tab: tab.locator("main img, main script").count()) == 0
    assert "owned" not in page.do(lambda tab: tab.title())


def test_the_footer_says_which_part_is_down(page: Page, fake: RunningFake) -> None:
    page.wait("text=All systems up")
    fake.platform.unready = "milvus"
    page.do(lambda tab: tab.reload())
    page.wait("text=Not ready")
    assert "Search index down" in " ".join(page.text("#health").split())


@pytest.mark.parametrize("width", [320, 390, 820, 1440])
def test_no_view_scrolls_sideways(page: Page, width: int) -> None:
    def overflow(tab):
        return tab.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )

    page.do(lambda tab: tab.set_viewport_size({"width": width, "height": 800}))
    page.sign_in()
    page.ask("x" * 200 + " who signs?")
    page.wait(".cite")
    page.do(lambda tab: tab.get_by_text("How this was answered").click())
    assert page.do(overflow) == 0
    page.do(lambda tab: tab.evaluate("location.hash = 'documents'"))
    page.wait(".holdings")
    assert page.do(overflow) == 0
