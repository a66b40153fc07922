"""Every bad file fails with its own code and a sentence, through the sandbox as in production."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bad_files import BAD
from good_files import GOOD
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.errors import DocumentError
from deployments.ingestion.readers.content_types import HEAD_BYTES, detect_content_type
from deployments.ingestion.readers.document import ReadLimits
from deployments.ingestion.sandbox import ReaderSandbox, SandboxLimits

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "ingestion.md"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[ReaderSandbox]:
    with ReaderSandbox(ReadLimits(), SandboxLimits(wall_s=20, cpu_s=10)) as made:
        yield made


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_gets_its_code(sandbox: ReaderSandbox, tmp_path: Path, case: str) -> None:
    name, data, code = BAD[case]
    path = tmp_path / "blob"
    path.write_bytes(data)
    kind = detect_content_type(name, data[:HEAD_BYTES])
    with pytest.raises(DocumentError) as caught:
        sandbox.read(path, kind, name)
    assert caught.value.code == code
    assert caught.value.message.endswith(".")
    assert str(tmp_path) not in caught.value.message


def test_the_documentation_says_what_becomes_of_each_bad_file() -> None:
    faults: dict[tuple[str, str], list[str]] = {}
    for case, (_, _, code) in BAD.items():
        kind, _, fault = case.partition(": ")
        faults.setdefault((kind, code), []).append(fault)
    rows = [f"| {kind} | {', '.join(of)} | `{code}` |" for (kind, code), of in faults.items()]
    documented = DOCUMENTATION.read_text().splitlines()
    first = documented.index("| reader | the file | its error code |") + 2
    assert documented[first : documented.index("", first)] == rows


@pytest.mark.parametrize("kind", GOOD)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_a_mutated_file_is_read_or_refused_and_never_more(
    sandbox: ReaderSandbox, tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    name, good = GOOD[kind]
    hurt = bytearray(good[: data.draw(st.integers(1, len(good)), "length")])
    for _ in range(data.draw(st.integers(0, 8), "changes")):
        at = data.draw(st.integers(0, len(hurt) - 1), "at")
        hurt[at] = data.draw(st.integers(0, 255), "byte")
    path = tmp_path_factory.getbasetemp() / f"fuzz-{kind}"
    path.write_bytes(hurt)
    outcome = _outcome(sandbox, path, detect_content_type(name, bytes(hurt[:HEAD_BYTES])), name)
    assert outcome not in ("", "document_error")


def _outcome(sandbox: ReaderSandbox, path: Path, kind: str, name: str) -> str:
    """The text, or the code of the error."""
    try:
        return sandbox.read(path, kind, name).text.strip()
    except DocumentError as error:
        return error.code
