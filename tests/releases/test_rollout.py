"""A release either works or is taken back."""

from __future__ import annotations

import pytest
from release_desk import Desk, config

from serve_app.releases.rollout import ReleaseFailed, RolledBack, SmokeFailed
from serve_app.releases.state import (
    Applications,
    ApplicationState,
    ServeConfig,
    ServeUnreachable,
)


def test_the_first_release_runs(desk: Desk) -> None:
    after = desk.rollout().release(config())
    assert {app.status for app in after.values()} == {"RUNNING"}
    assert "embedding (deploying), rag (deploying)" in desk.said


def test_a_release_of_the_query_path_leaves_the_models_alone(desk: Desk) -> None:
    desk.rollout().release(config())
    before = desk.pids()
    desk.rollout().release(config(query={"top_k": 6}))
    after = desk.pids()
    assert after["embedding"] == before["embedding"]
    assert not after["rag"] & before["rag"]


def test_a_version_that_does_not_start_is_taken_back(desk: Desk) -> None:
    desk.rollout().release(config(query={"top_k": 6}))
    with pytest.raises(RolledBack, match="a replica did not start"):
        desk.rollout().release(config(starts=False))
    applications = desk.serve.applications()
    assert applications["rag"].status == "RUNNING"
    assert applications["rag"].config == config(query={"top_k": 6})["applications"][1]


def test_a_version_that_answers_nonsense_is_taken_back(desk: Desk) -> None:
    desk.rollout().release(config())

    def smoke() -> None:
        raise SmokeFailed("The smoke query got 500.")

    with pytest.raises(RolledBack, match="smoke query got 500"):
        desk.rollout(smoke).release(config(query={"top_k": 6}))
    assert desk.serve.applied[-1] == config()
    assert any("Going back" in line for line in desk.said)


def test_the_smoke_query_is_asked_only_when_everything_runs(desk: Desk) -> None:
    seen = []

    def smoke() -> None:
        seen.append({app.status for app in desk.serve.applications().values()})

    desk.rollout(smoke).release(config())
    assert seen == [{"RUNNING"}]


def test_a_first_release_that_fails_has_nothing_to_go_back_to(desk: Desk) -> None:
    with pytest.raises(ReleaseFailed, match="no version before"):
        desk.rollout().release(config(starts=False))


def test_a_release_that_hangs_is_taken_back_in_time(desk: Desk) -> None:
    desk.rollout().release(config())

    class Hanging(type(desk.serve)):  # type: ignore[misc]
        """Does not get on with anything but the first version."""

        def applications(self) -> Applications:
            looks = {}
            for name, app in super().applications().items():
                hangs = app.config != config()["applications"][["embedding", "rag"].index(name)]
                looks[name] = (
                    type(app)("DEPLOYING", "waits for a GPU", 0.0, app.config, {}) if hangs else app
                )
            return looks

    desk.serve.__class__ = Hanging
    with pytest.raises(RolledBack, match="not running after 30 s: rag: waits for a GPU"):
        desk.rollout().release(config(query={"top_k": 6}))
    assert desk.serve.applied[-1] == config()


def test_a_silent_head_node_is_waited_for(desk: Desk) -> None:
    silences = iter([False, True, True, False])

    class Stuttering(type(desk.serve)):  # type: ignore[misc]
        """Is silent at its second and third look."""

        def applications(self) -> Applications:
            if next(silences, False):
                raise ServeUnreachable("no answer")
            return super().applications()

    desk.serve.__class__ = Stuttering
    assert desk.rollout().release(config())["rag"].status == "RUNNING"


def test_going_back_that_fails_says_both(desk: Desk) -> None:
    desk.rollout().release(config())

    class Once(type(desk.serve)):  # type: ignore[misc]
        """Takes one more configuration, then none."""

        def apply(self, config: ServeConfig) -> None:
            if len(self.applied) > 1:
                raise ServeUnreachable("The head node is gone.")
            super().apply(config)

    desk.serve.__class__ = Once
    with pytest.raises(ReleaseFailed, match=r"did not start.*Going back failed too.*gone"):
        desk.rollout().release(config(starts=False))


def test_the_reason_is_what_was_raised_and_not_thirty_lines_of_where() -> None:
    message = (
        "Deploying app 'rag' failed:\nTraceback (most recent call last):\n"
        '  File "x.py", line 1, in rag\n    raise\n'
        "deployments.errors.ConfigurationError: set RERANK_URL to its address."
    )
    state = ApplicationState("DEPLOY_FAILED", message, 0.0, None, {})
    assert state.reasons == (
        "Deploying app 'rag' failed: "
        "deployments.errors.ConfigurationError: set RERANK_URL to its address."
    )
