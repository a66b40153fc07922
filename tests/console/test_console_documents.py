from __future__ import annotations

from pathlib import Path

import pytest
from browser import Page
from fake_api import RunningFake

CHOOSE = "input[type=file]:not([webkitdirectory])"


@pytest.fixture
def shelf(page: Page) -> Page:
    page.sign_in()
    page.do(lambda tab: tab.get_by_role("link", name="Documents", exact=True).click())
    page.wait(".holdings")
    return page


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    for name in ("travel-rules.md", "damaged.pdf"):
        (tmp_path / name).write_text("x" * 1000)
    return [str(tmp_path / "travel-rules.md"), str(tmp_path / "damaged.pdf")]


def test_chosen_files_become_a_job_whose_errors_can_be_read(shelf: Page, files: list[str]) -> None:
    shelf.do(lambda tab: tab.set_input_files(CHOOSE, files))
    shelf.wait(".job progress")
    shelf.wait("text=Done, with errors")
    assert "The PDF ends in the middle of page 3; save it again." in shelf.text(".file-errors")
    shelf.wait(".holding-title:text-is('Travel rules')")
    assert "3 documents" in shelf.text(".collection-head")


def test_a_job_with_failed_files_can_be_resumed_and_put_away(shelf: Page, files: list[str]) -> None:
    shelf.do(lambda tab: tab.set_input_files(CHOOSE, files))
    shelf.do(lambda tab: tab.get_by_role("button", name="Resume").click())
    shelf.wait(".badge.good")
    shelf.do(lambda tab: tab.get_by_role("button", name="Put job_0001 away").click())
    shelf.wait(".job", state="detached")


def test_a_running_job_survives_a_reload_and_can_be_cancelled(
    shelf: Page, fake: RunningFake, tmp_path: Path
) -> None:
    (tmp_path / "endless.md").write_text("x")
    shelf.do(lambda tab: tab.set_input_files(CHOOSE, str(tmp_path / "endless.md")))
    shelf.wait(".badge.busy")
    shelf.do(lambda tab: tab.reload())
    shelf.wait(".badge.busy")
    seen = [h.get("last-event-id") for _, p, h in fake.platform.requests if p.endswith("/events")]
    assert seen[0] is None
    assert int(seen[-1] or 0) > 0
    shelf.do(lambda tab: tab.get_by_role("button", name="Cancel").click())
    shelf.wait(".badge:text-is('Cancelled')")
    assert fake.platform.jobs["job_0001"]["state"] == "CANCELLED"


def test_progress_goes_on_after_broken_connections(
    shelf: Page, fake: RunningFake, files: list[str]
) -> None:
    fake.platform.drop_events_after = 3
    shelf.do(lambda tab: tab.set_input_files(CHOOSE, files[0]))
    shelf.wait(".badge.good")


def test_a_folder_keeps_its_paths_and_leaves_out_what_cannot_be_read(
    shelf: Page, fake: RunningFake, tmp_path: Path
) -> None:
    folder = tmp_path / "guide"
    (folder / "deep").mkdir(parents=True)
    for name in ("intro.md", "deep/more.html", "photo.png", ".hidden.md"):
        (folder / name).write_text("x")
    shelf.do(lambda tab: tab.set_input_files("input[webkitdirectory]", str(folder)))
    shelf.wait("text=2 files of other kinds left out.")
    names = [file["name"] for file in fake.platform.jobs["job_0001"]["files"]]
    assert sorted(names) == ["guide/deep/more.html", "guide/intro.md"]
    shelf.wait(".badge.good")


def test_files_can_be_dropped(shelf: Page, fake: RunningFake) -> None:
    def drop(tab):
        transfer = tab.evaluate_handle(
            """() => {
              const transfer = new DataTransfer();
              transfer.items.add(new File(["hello"], "dropped.md"));
              return transfer;
            }"""
        )
        tab.dispatch_event(".drop", "dragover", {"dataTransfer": transfer})
        tab.locator(".drop.lit").wait_for()
        tab.dispatch_event(".drop", "drop", {"dataTransfer": transfer})

    shelf.do(drop)
    shelf.wait(".badge.good")
    assert fake.platform.jobs["job_0001"]["files"][0]["name"] == "dropped.md"


def test_a_refused_upload_says_why(shelf: Page, fake: RunningFake, files: list[str]) -> None:
    fake.platform.failures.append(("/v1/collections/handbook/documents", 503, {}))
    shelf.do(lambda tab: tab.set_input_files(CHOOSE, files))
    shelf.wait("text=Try again in a moment.")


def test_a_collection_is_made_chosen_and_deleted(shelf: Page, fake: RunningFake) -> None:
    def make(tab):
        tab.get_by_role("button", name="New collection").click()
        tab.get_by_label("Name").fill("trips")
        tab.get_by_label("What it holds").fill("Where we went")
        tab.keyboard.press("Enter")
        tab.get_by_role("heading", name="trips").wait_for()

    def delete(tab):
        tab.get_by_role("button", name="Delete collection").click()
        tab.get_by_role("dialog").get_by_role("button", name="Delete").click()
        tab.get_by_role("heading", name="handbook").wait_for()

    shelf.do(make)
    assert fake.platform.collections["trips"]["description"] == "Where we went"
    shelf.wait("text=Nothing in here yet")
    shelf.do(delete)
    assert "trips" not in fake.platform.collections


def test_a_collection_that_exists_is_refused_in_the_form(shelf: Page) -> None:
    def make(tab):
        tab.get_by_role("button", name="New collection").click()
        tab.get_by_label("Name").fill("handbook")
        tab.keyboard.press("Enter")
        tab.get_by_text("exists already").wait_for()

    shelf.do(make)


def test_a_document_is_deleted_only_when_confirmed(shelf: Page, fake: RunningFake) -> None:
    def press(word):
        def action(tab):
            tab.get_by_role("button", name="Delete Finance FAQ").click()
            tab.get_by_role("dialog").get_by_role("button", name=word, exact=True).click()

        return action

    shelf.do(press("Keep"))
    assert len(fake.platform.documents["handbook"]) == 2
    shelf.do(press("Delete"))
    shelf.wait(".holding-title:text-is('Finance FAQ')", state="detached")
    assert len(fake.platform.documents["handbook"]) == 1


def test_a_collection_is_searched_without_the_model(shelf: Page, fake: RunningFake) -> None:
    def search(query):
        def action(tab):
            tab.get_by_label("Search in this collection").fill(query)
            tab.keyboard.press("Enter")

        return action

    shelf.do(search("signs"))
    shelf.wait("text=3 passages in 19 ms")
    shelf.do(search("unknown"))
    shelf.wait("text=Nothing found.")
    assert fake.platform.questions == []


def test_the_first_visit_leads_to_the_first_collection(page: Page, fake: RunningFake) -> None:
    fake.platform.collections.clear()

    def visit(tab):
        tab.get_by_label("API key").fill("rs_test_key")
        tab.keyboard.press("Enter")
        tab.get_by_role("link", name="Go to Documents").click()
        tab.get_by_role("heading", name="No collection yet").wait_for()

    page.do(visit)
