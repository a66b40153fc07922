"""Hidden versions of one collection: open, condemned, or gone."""

from __future__ import annotations

from deployments.state.memory.world import World


def abort_version(world: World, collection: str, version: int) -> None:
    """Sweep at once, keep hidden for long: its writer may be alive."""
    now_s = world.clock_s()
    _condemn(world, collection, version, now_s, now_s + world.lifetimes.tombstone_s)


def retire_version(world: World, collection: str, version: int) -> None:
    """Sweep when no search can still be reading it."""
    entry = world.collection(collection)
    if version in entry.hidden and version not in entry.forget_at_s:
        abort_version(world, collection, version)
        return
    due_at_s = world.clock_s() + world.lifetimes.grace_s
    _condemn(world, collection, version, due_at_s, due_at_s + world.lifetimes.settle_s)


def _condemn(
    world: World, collection: str, version: int, due_at_s: float, forget_at_s: float
) -> None:
    entry = world.collection(collection)
    entry.hidden.add(version)
    entry.due_at_s[version] = min(due_at_s, entry.due_at_s.get(version, due_at_s))
    entry.forget_at_s[version] = max(forget_at_s, entry.forget_at_s.get(version, forget_at_s))
