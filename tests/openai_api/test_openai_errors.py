"""Errors as OpenAI's clients know them, on the OpenAI-compatible routes and nowhere else."""

from __future__ import annotations

import httpx
import openai
import pytest
from served_room import KEY, LANGUAGE_MODEL, QUESTION

from deployments.contracts.limits import RateLimit
from deployments.errors import ContextLengthExceeded, GenerationUnavailable, Overloaded

ASKED = [{"role": "user", "content": QUESTION}]


def ask(client, model="rag:handbook", **more):
    return client.chat.completions.create(model=model, messages=ASKED, **more)


def test_a_key_that_is_not_known_is_refused(client):
    with pytest.raises(openai.AuthenticationError) as refused:
        ask(client.with_options(api_key="nobody"))
    assert refused.value.code == "invalid_api_key"
    assert refused.value.response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("method", ["chat", "embeddings", "models"])
def test_a_key_without_the_scope_is_refused(client, method):
    writer = client.with_options(api_key="key-of-a-writer")
    with pytest.raises(openai.PermissionDeniedError) as refused:
        {
            "chat": lambda: ask(writer),
            "embeddings": lambda: writer.embeddings.create(model="m", input="text"),
            "models": writer.models.list,
        }[method]()
    assert refused.value.code == "forbidden"


def test_a_collection_of_others_looks_like_one_that_is_not_there(client):
    said = set()
    for model in ("rag:harbour", "rag:nowhere", "rag:Not a name", "rag:", "gpt-4o"):
        for caller in (client, client.with_options(api_key="key-of-a-visitor")):
            if (model, caller.api_key) == ("rag:harbour", "key-of-a-visitor"):
                continue  # it is theirs
            with pytest.raises(openai.NotFoundError) as refused:
                ask(caller, model)
            assert refused.value.code == "model_not_found"
            assert refused.value.param == "model"
            said.add(refused.value.body["message"].replace(model, "MODEL"))
    assert said == {"The model 'MODEL' does not exist or you do not have access to it."}


@pytest.mark.parametrize("stream", [True, False])
def test_a_missing_collection_is_the_same_to_who_may_read_all(client, stream):
    reader = client.with_options(api_key="key-of-a-reader")
    with pytest.raises(openai.NotFoundError) as refused:
        ask(reader, "rag:nowhere", stream=stream)
    assert refused.value.code == "model_not_found"
    assert refused.value.body["message"].startswith("The model 'rag:nowhere' does not exist or")


def test_the_limit_on_questions_holds_and_says_when_to_come_back(room, client):
    room.services.limiter._limits["generation"] = RateLimit(2, 60)
    hurried = client.with_options(api_key="key-of-the-hurried")
    ask(hurried)
    ask(hurried, LANGUAGE_MODEL)
    with pytest.raises(openai.RateLimitError) as refused:
        ask(hurried)
    assert refused.value.code == "rate_limit_exceeded"
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60
    ask(client)  # others have their own


def test_questions_left_are_announced(client):
    answer = client.chat.completions.with_raw_response.create(model="rag:handbook", messages=ASKED)
    assert answer.headers["ratelimit"].startswith('"generation";r=99')


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", ["rag:handbook", LANGUAGE_MODEL])
def test_a_full_queue_is_an_error_that_clients_retry_even_for_a_stream(room, client, model, stream):
    room.generator.fail_with(Overloaded("the model's queue is full", retry_after_s=7.0))
    with pytest.raises(openai.InternalServerError) as refused:
        ask(client, model, stream=stream)
    assert refused.value.status_code == 503
    assert refused.value.type == "server_error"
    assert refused.value.code == "overloaded"
    assert refused.value.response.headers["retry-after"] == "7"


def test_a_client_that_tries_again_gets_its_answer(room, client):
    room.generator.fail_with(Overloaded("full", retry_after_s=1.0))
    asked = len(room.generator.requests)

    def recovering(request):
        if len(room.generator.requests) > asked:
            room.generator.recover()

    patient = client.with_options(max_retries=2)
    patient._client.event_hooks = {"request": [recovering]}
    try:
        assert "31 metres" in ask(patient).choices[0].message.content
    finally:
        patient._client.event_hooks = {}
    assert len(room.generator.requests) > asked + 1


def test_what_goes_wrong_in_the_middle_of_a_stream_reaches_the_caller(room, client):
    room.generator.fail_with(GenerationUnavailable("the model stopped"), after_tokens=3)
    heard = []
    with ask(client, stream=True) as chunks, pytest.raises(openai.APIError) as failed:
        heard.extend(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert "".join(heard) == "The tower of"
    assert failed.value.code == "generation_unavailable"
    assert "the model stopped" in failed.value.message


def test_a_stream_that_failed_does_not_end_with_done(room):
    room.generator.fail_with(GenerationUnavailable("the model stopped"), after_tokens=3)
    body = {"model": LANGUAGE_MODEL, "messages": ASKED, "stream": True}
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = httpx.post(f"{room.url}/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200
    assert "[DONE]" not in answer.text


def test_a_prompt_too_long_has_openais_code(room, client):
    room.generator.fail_with(ContextLengthExceeded("the prompt is too long"))
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, LANGUAGE_MODEL)
    assert refused.value.code == "context_length_exceeded"


def test_a_body_that_is_no_json_is_refused(room):
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    answer = httpx.post(f"{room.url}/v1/chat/completions", content=b"{not", headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_deadline_that_passes_is_an_error(room, client):
    room.generator._token_s = 0.2
    with pytest.raises(openai.InternalServerError) as failed:
        ask(client, extra_body={"ragserve": {"deadline_s": 0.3}})
    assert failed.value.status_code == 504
    assert failed.value.code == "deadline_exceeded"


def test_a_fault_of_ours_tells_no_secrets(room, client):
    room.generator.fail_with(RuntimeError("password is hunter2"))
    with pytest.raises(openai.InternalServerError) as failed:
        ask(client, LANGUAGE_MODEL)
    assert failed.value.status_code == 500
    assert failed.value.code == "internal_error"
    assert "hunter2" not in failed.value.response.text


def test_a_fault_of_ours_in_a_stream_tells_no_secrets_either(room, client):
    room.generator.fail_with(RuntimeError("password is hunter2"), after_tokens=3)
    with (
        ask(client, LANGUAGE_MODEL, stream=True) as chunks,
        pytest.raises(openai.APIError) as failed,
    ):
        list(chunks)
    assert failed.value.code == "internal_error"
    assert "hunter2" not in failed.value.message


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_too_large_is_refused(room, announced):
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    text = b"a" * 5_000_000
    body = b'{"model": "m", "input": "' + text + b'"}'
    answer = httpx.post(
        f"{room.url}/v1/embeddings", content=body if announced else iter([body]), headers=headers
    )
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "too_large"


def test_a_field_with_a_name_that_cannot_be_written_is_refused(room):
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    body = b'{"model": "m", "messages": [{"role": "user"}], "ragserve": {"\\ud800": 1}}'
    answer = httpx.post(f"{room.url}/v1/chat/completions", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("ragserve")


def test_the_other_routes_keep_their_problem_documents(room):
    answer = httpx.get(f"{room.url}/v1/collections")
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "unauthenticated"
