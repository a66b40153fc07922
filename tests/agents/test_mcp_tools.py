from __future__ import annotations

from agent import Agent, given, refused
from fake_api import READER_KEY, RunningFake
from fake_platform import ANSWER, NO_ANSWER, PASSAGES

PATHS_OUT = [
    "leak.md",
    "up/key.md",
    "../secret/key.md",
    "../secret/none.md",
    "/etc/hosts",
    "x\0.md",
]


async def test_search_gives_passages_with_document_page_and_score(over_http: Agent) -> None:
    async with over_http() as client:
        found = await given(client, "search", query="signs", top_k=2)
    first, second = found["passages"]
    assert (first["document"], first["page"], first["score"]) == ("Travel handbook", 4, 0.79)
    assert first["text"] == PASSAGES[0][4]
    assert second["number"] == 2


async def test_an_answer_names_the_words_that_it_rests_on(over_http: Agent) -> None:
    async with over_http() as client:
        answer = await given(client, "ask", question="Who signs?", collections=["handbook"])
        none = await given(client, "ask", question="unknown")
    assert answer["answer"] == ANSWER
    assert [one["quote"] for one in answer["citations"]] == [PASSAGES[0][5], PASSAGES[1][5]]
    assert answer["citations"][1]["source"] == "handbook/travel.md"
    assert (none["answer"], none["answered"], none["citations"]) == (NO_ANSWER, False, [])


async def test_labels_of_a_lesser_answer_reach_the_agent(over_http: Agent) -> None:
    async with over_http() as client:
        assert (await given(client, "ask", question="degraded"))["degraded"] == ["rerank_skipped"]


async def test_with_several_collections_the_agent_is_told_to_choose(
    over_http: Agent, fake: RunningFake
) -> None:
    fake.platform.add_collection("other", "The rest")
    async with over_http() as client:
        listed = (await given(client, "list_collections"))["collections"]
        told = await refused(client, "ask", question="Who signs?")
    assert [(one["name"], one["description"]) for one in listed] == [
        ("handbook", "How we work"),
        ("other", "The rest"),
    ]
    assert told == "Say which collections to look in: handbook, other."


async def test_an_error_of_the_service_is_one_sentence(over_http: Agent, fake: RunningFake) -> None:
    async with over_http() as client:
        missing = await refused(client, "search", query="x", collections=["nowhere"])
        often = await refused(client, "ask", question="too often", collections=["handbook"])
        fake.platform.failures += [("/v1/collections", 503, {"Retry-After": "60"})]
        out = await refused(client, "list_collections")
    assert missing == "There is no collection 'nowhere' (request req_7f3a)."
    assert often == "You have asked 10 questions this minute; try again in 7 s."
    assert out.startswith("Try again in a moment")


async def test_a_file_that_cannot_be_read_comes_back_with_its_reason(over_http: Agent) -> None:
    async with over_http() as client:
        bad = await given(client, "ingest_file", path="damaged.md", collection="handbook")
    assert (bad["state"], "middle of page 3" in bad["reason"]) == ("FAILED", True)


async def test_an_agent_need_not_wait_for_a_long_job(over_http: Agent) -> None:
    arguments = {"path": "endless.md", "collection": "handbook"}
    async with over_http() as client:
        at_once = await given(client, "ingest_file", **arguments, wait_s=0)
        later = await given(client, "ingest_file", **arguments, wait_s=0.3)
    assert at_once["job"] == "job_0001"
    assert (later["job"], later["state"]) == ("job_0002", "PROCESSING")


async def test_no_path_leads_out_of_the_roots(over_http: Agent, fake: RunningFake) -> None:
    async with over_http() as client:
        for path in PATHS_OUT:
            told = await refused(client, "ingest_file", path=path, collection="handbook")
            assert told == f"{path!r} is not below a folder that is allowed with --root."
    assert not fake.platform.jobs


async def test_a_key_that_may_only_read_cannot_ingest(over_http: Agent) -> None:
    async with over_http(READER_KEY) as client:
        await given(client, "list_collections")
        told = await refused(client, "ingest_file", path="rules.md", collection="handbook")
    assert told == "This key may not change collections (request req_7f3a)."
