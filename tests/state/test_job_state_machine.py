"""Any sequence of steps by any supervisors, against a model small enough to be seen to be right."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from deployments.contracts.jobs import Lease
from deployments.errors import IllegalTransition, LeaseLost
from deployments.state.connection import connect
from tests.services import ValkeyServer
from tests.state.conftest import Room, files_of, memory_room, redis_room

SIZES = (10, 200, 3000)
numbers = st.integers(0, len(SIZES) - 1)
# Mostly the newest lease, now and then the one before.
ages = st.sampled_from([0, 0, 0, 0, 0, 1])


@dataclass
class FileModel:
    state: str = "PENDING"
    version: int = 0
    done: int = 0
    total: int = 0
    versions: list[int] = field(default_factory=list)


class RefusedError(Exception):
    """What the model says of a step; carries the error class the store must raise."""


class JobMachine(RuleBasedStateMachine):
    """One job, three files, a supervisor after the other."""

    def __init__(
        self, make: Callable[[], tuple[Room, Callable[[], Coroutine[Any, Any, Any]]]]
    ) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.state = "PENDING"
        self.cancelling = False
        self.job_fence = 0
        self.attempts = 0
        self.files = [FileModel() for _ in SIZES]
        self.hidden: set[int] = set()
        self.leases: list[Lease] = []
        self.runner.run(self._set_up(make))

    async def _set_up(
        self, make: Callable[[], tuple[Room, Callable[[], Coroutine[Any, Any, Any]]]]
    ) -> None:
        self.room, self.close = make()
        await self.room.jobs.submit("job", self.room.collection, "alice", files_of(*SIZES))
        await self._take_over()

    async def _take_over(self) -> None:
        if self.leases:
            await self.room.lock.release(self.leases[-1])
        self.leases.append(await self.room.lease(f"supervisor-{len(self.leases)}"))

    def teardown(self) -> None:
        self.runner.run(self.close())
        self.runner.close()

    # The model's own opinion

    def _demand_lease(self, lease: Lease) -> None:
        if lease != self.leases[-1]:
            raise RefusedError(LeaseLost)

    def _demand(self, holds: bool) -> None:
        if not holds:
            raise RefusedError(IllegalTransition)

    def _working(self, lease: Lease, number: int) -> FileModel:
        self._demand_lease(lease)
        self._demand(self.state == "PROCESSING")
        return self.files[number]

    @staticmethod
    def _open(file: FileModel) -> bool:
        return file.state in ("PENDING", "PROCESSING")

    def _step(self, call: Coroutine[Any, Any, Any], model: Callable[[], None]) -> Any:
        """Do it for real and in the model: both must agree on whether it may be done."""
        try:
            model()
        except RefusedError as refused:
            with pytest.raises(refused.args[0]):
                self.runner.run(call)
            return None
        return self.runner.run(call)

    def _lease(self, age: int) -> Lease:
        return self.leases[max(0, len(self.leases) - 1 - age)]

    # Steps

    @rule()
    def another_supervisor_takes_over(self) -> None:
        self.runner.run(self._take_over())

    @rule(age=ages)
    def start(self, age: int) -> None:
        lease = self._lease(age)

        def model() -> None:
            self._demand_lease(lease)
            self._demand(self.state in ("PENDING", "PROCESSING"))
            if self.state == "PENDING" or self.job_fence != lease.fence:
                self.attempts += 1
            self.state, self.job_fence = "PROCESSING", lease.fence

        self._step(self.room.jobs.start("job", lease), model)

    @rule(number=numbers, age=ages)
    def begin(self, number: int, age: int) -> None:
        lease = self._lease(age)
        file = self.files[number]

        def model() -> None:
            self._working(lease, number)
            self._demand(self._open(file))
            file.state, file.done, file.total = "PROCESSING", 0, 0

        version = self._step(self.room.jobs.begin_file("job", number, lease), model)
        if version is not None:
            assert all(version > older for other in self.files for older in other.versions)
            file.version = version
            file.versions.append(version)
            self.hidden.add(version)

    @rule(number=numbers, age=ages, done=st.integers(0, 9), more=st.integers(0, 9))
    def report(self, number: int, age: int, done: int, more: int) -> None:
        lease = self._lease(age)

        def model() -> None:
            file = self._working(lease, number)
            self._demand(file.state == "PROCESSING")
            file.done, file.total = done, done + more

        self._step(
            self.room.jobs.report_file(
                "job", number, lease, chunks_done=done, chunks_total=done + more
            ),
            model,
        )

    @rule(number=numbers, age=ages, chunks=st.integers(1, 9), stale=st.booleans())
    def commit(self, number: int, age: int, chunks: int, stale: bool) -> None:
        lease = self._lease(age)
        file = self.files[number]
        version = file.versions[0] if stale and file.versions else file.version

        def model() -> None:
            self._working(lease, number)
            if file.state == "DONE" and file.version == version:
                return
            self._demand(file.state == "PROCESSING" and file.version == version)
            file.state, file.done, file.total = "DONE", chunks, chunks
            self.hidden.discard(version)

        self._step(
            self.room.jobs.commit_file("job", number, lease, version=version, chunks=chunks),
            model,
        )

    @rule(number=numbers, age=ages)
    def skip(self, number: int, age: int) -> None:
        lease = self._lease(age)

        def model() -> None:
            file = self._working(lease, number)
            self._demand(self._open(file) or file.state == "UNCHANGED")
            file.state, file.version, file.done, file.total = "UNCHANGED", 0, 0, 0

        self._step(self.room.jobs.skip_file("job", number, lease), model)

    @rule(number=numbers, age=ages)
    def fail(self, number: int, age: int) -> None:
        lease = self._lease(age)

        def model() -> None:
            file = self._working(lease, number)
            self._demand(self._open(file) or file.state == "FAILED")
            file.state, file.version, file.done, file.total = "FAILED", 0, 0, 0

        self._step(self.room.jobs.fail_file("job", number, lease, "damaged", "Bad."), model)

    @rule(age=ages, error=st.sampled_from(["", "", "store_unavailable"]))
    def finish(self, age: int, error: str) -> None:
        lease = self._lease(age)

        def model() -> None:
            self._demand_lease(lease)
            if self.state in ("COMPLETED", "FAILED", "CANCELLED"):
                self._demand(self.job_fence == lease.fence)
                return
            left = [file for file in self.files if self._open(file)]
            if self.cancelling:
                state, after = "CANCELLED", "CANCELLED"
            elif error:
                state, after = "FAILED", "PENDING"
            else:
                self._demand(self.state == "PROCESSING" and not left)
                state, after = "COMPLETED", ""
            self.state, self.job_fence = state, lease.fence
            for file in left:
                file.state, file.version, file.done, file.total = after, 0, 0, 0

        self._step(self.room.jobs.finish("job", lease, error_code=error), model)

    @rule()
    def cancel(self) -> None:
        def model() -> None:
            self._demand(self.state in ("PENDING", "PROCESSING"))
            self.cancelling = True
            if self.state == "PENDING":
                self.state = "CANCELLED"
                for file in self.files:
                    file.state = "CANCELLED" if self._open(file) else file.state

        self._step(self.room.jobs.cancel("job"), model)

    @rule()
    def resume(self) -> None:
        def model() -> None:
            left = [file for file in self.files if file.state not in ("DONE", "UNCHANGED")]
            self._demand(self.state in ("COMPLETED", "FAILED", "CANCELLED") and bool(left))
            self.state, self.cancelling = "PENDING", False
            for file in left:
                file.state = "PENDING"

        self._step(self.room.jobs.resume("job"), model)

    # What a caller sees

    @invariant()
    def the_record_is_the_models(self) -> None:
        job = self.runner.run(self.room.jobs.get("job"))
        done = [
            size
            for size, file in zip(SIZES, self.files, strict=True)
            if file.state in ("DONE", "UNCHANGED")
        ]
        assert job.state == self.state
        assert job.cancel_requested == self.cancelling
        assert job.attempts == self.attempts
        assert job.files_done == len(done)
        assert job.bytes_done == sum(done)
        assert job.files_failed == sum(file.state == "FAILED" for file in self.files)
        assert job.files_unchanged == sum(file.state == "UNCHANGED" for file in self.files)
        assert job.chunks_done == sum(file.done for file in self.files)
        assert job.chunks_total == sum(file.total for file in self.files)
        assert job.transitions[-1].state == self.state
        assert job.state.ended == (job.ended_at_s > 0)

    @invariant()
    def the_files_are_the_models(self) -> None:
        files = self.runner.run(self.room.jobs.files("job"))
        assert [(file.state.value, file.chunks_done, file.chunks_total) for file in files] == [
            (file.state, file.done, file.total) for file in self.files
        ]

    @invariant()
    def only_committed_versions_are_visible(self) -> None:
        assert self.runner.run(self.room.hidden()) == self.hidden
        committed = {file.version for file in self.files if file.state == "DONE"}
        assert not committed & self.hidden


def _check(
    make: Callable[[], tuple[Room, Callable[[], Coroutine[Any, Any, Any]]]], examples: int
) -> None:
    run_state_machine_as_test(
        lambda: JobMachine(make),  # type: ignore[arg-type]
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_twin_agrees_with_the_model() -> None:
    async def close() -> None:
        return

    _check(lambda: (memory_room(), close), examples=40)


def test_valkey_agrees_with_the_model(valkey: ValkeyServer) -> None:
    def make() -> tuple[Room, Callable[[], Coroutine[Any, Any, Any]]]:
        client = connect(valkey.url, valkey.password, max_connections=2)
        return redis_room(client), client.aclose

    _check(make, examples=20)
