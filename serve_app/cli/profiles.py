"""Named servers: an address and a key each, in a file that only its owner can read."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from platformdirs import user_config_path

from serve_app.cli.failures import UsageFailure


@dataclass(frozen=True, slots=True)
class Profile:
    """Where a server is and who one is there."""

    url: str
    api_key: str | None = None


@dataclass(frozen=True, slots=True)
class Profiles:
    """All profiles and the name of the one in use."""

    current: str | None = None
    known: dict[str, Profile] = field(default_factory=dict)

    def get(self, name: str) -> Profile:
        """Raises UsageFailure for a name that is not known."""
        try:
            return self.known[name]
        except KeyError:
            names = ", ".join(sorted(self.known)) or "none yet"
            raise UsageFailure(
                f"There is no profile {name!r} (known: {names}); "
                f"make it with `ragserve profile set {name} --url URL`."
            ) from None

    def using(self, name: str) -> Profiles:
        """The same profiles with another one in use."""
        self.get(name)
        return Profiles(name, self.known)

    def with_profile(self, name: str, profile: Profile) -> Profiles:
        """The profiles with `name` set; the first one made is in use."""
        return Profiles(self.current or name, {**self.known, name: profile})


def profiles_path() -> Path:
    """The file's place, by the platform's custom."""
    return user_config_path("ragserve") / "profiles.json"


def load() -> Profiles:
    """The profiles of the file; none where there is no file.

    Raises UsageFailure where the file cannot be understood.
    """
    path = profiles_path()
    try:
        data = json.loads(path.read_text("utf-8"))
        known = {name: Profile(**entry) for name, entry in data["profiles"].items()}
        return Profiles(data["current"], known)
    except FileNotFoundError:
        return Profiles()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as failure:
        raise UsageFailure(f"{path} cannot be read ({failure}); repair or delete it.") from failure


def save(profiles: Profiles) -> None:
    """Write the file anew, readable by its owner alone from its first byte."""
    path = profiles_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {name: asdict(profile) for name, profile in profiles.known.items()}
    text = json.dumps({"current": profiles.current, "profiles": known}, indent=2)
    fresh = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    fresh.replace(path)
