"""The stage `summarise` against a stand-in of a language model's server on loopback: asked for only by who wants it, never trusted."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.context import JobContext
from pipeline_jobs.media import summarise
from tests.unit.media.conftest import MakeContext

TRANSCRIPT = "The harbour opens at six. Ships come in with the tide. The gulls are loud."
GOOD = {"title": "A harbour in the morning", "summary": "Ships come in with the tide."}


class Model:
    """What it is asked, and how it answers: a status, or the content of its message."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, Any], str | None]] = []
        self.says: int | bytes | str = json.dumps(GOOD)
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/chat/completions"
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                model.asked.append((body, self.headers["Authorization"]))
                said = model.says
                self.send_response(said if isinstance(said, int) else 200)
                self.send_header("Location", "http://127.0.0.1:1/")
                self.end_headers()
                answer = said if isinstance(said, bytes) else json.dumps({"choices": [{"message": {"content": said}}]}).encode()
                try:
                    self.wfile.write(answer)
                except ConnectionError:
                    pass

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def model() -> Iterator[Model]:
    made = Model()
    yield made
    made.close()


@pytest.fixture
def spent() -> list[int]:
    return []


@pytest.fixture
def context(make_context: MakeContext, model: Model, spent: list[int]) -> JobContext:
    return _context(make_context, model, spent)


def _context(make_context: MakeContext, model: Model, spent: list[int], **settings: str) -> JobContext:
    values = {"PIPELINE_LLM_URL": model.url, "PIPELINE_LLM_MODEL": "small", **settings}
    data = {"transcript": TRANSCRIPT, "summary": "The harbour opens at six.", "title": None}
    made = make_context(data=data, params={"summary_by": "language_model", "summary_sentences": 2}, **values)
    made.spend = lambda tokens: spent.append(tokens) or "ok"
    return made


def word(done: dict[str, Any]) -> str:
    """Why there was none. Nothing else was given, so that the summary of before stays."""
    assert set(done) == {"warnings"}
    (text,) = done["warnings"]
    assert text.startswith("summary_extracted: ")
    return str(text.rpartition("(")[2].rstrip(")."))


def test_the_model_gives_a_title_and_a_summary(context: JobContext, model: Model, spent: list[int]) -> None:
    assert summarise.run(context) == {"summary": GOOD["summary"], "title": GOOD["title"], "summary_by": "small"}
    ((body, key),) = model.asked
    assert (body["model"], body["max_tokens"], key) == ("small", summarise.MOST_TOKENS, None)
    assert "at most 2 sentences" in body["messages"][0]["content"]
    assert TRANSCRIPT in body["messages"][1]["content"]
    assert spent == [len(TRANSCRIPT) // 3 + summarise.MOST_TOKENS]


def test_a_title_that_the_source_has_stays(context: JobContext) -> None:
    context.data["title"] = "Its own"
    assert summarise.run(context)["title"] == "Its own"


@pytest.mark.parametrize(("params", "transcript"), [({}, TRANSCRIPT), ({"summary_by": "language_model"}, "")])
def test_it_is_not_asked_unless_it_is_wanted_and_there_is_something(
    context: JobContext, model: Model, params: dict[str, str], transcript: str
) -> None:
    context.params, context.data["transcript"] = params, transcript
    assert summarise.run(context) == {}
    assert model.asked == []


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (503, "llm_http_503"), (302, "llm_http_302"), (b"<html>", "llm_answer_unreadable"), (b"{}", "llm_answer_unreadable"),
        ("no JSON here", "llm_answer_unreadable"),
        ('{"title": "x"}', "llm_answer_unreadable"), ('{"title": "", "summary": " "}', "llm_answer_empty"),
        (b" " * 300_000, "llm_answer_too_large"),
    ],
)  # fmt: skip
def test_what_it_does_wrong_is_a_warning(context: JobContext, model: Model, says: int | bytes | str, why: str) -> None:
    model.says = says
    assert word(summarise.run(context)) == why


def test_an_answer_between_other_words_is_found_and_a_long_one_is_cut(context: JobContext, model: Model) -> None:
    model.says = "Sure!\n```json\n" + json.dumps({"title": "t" * 999, "summary": "s " * 9999}) + "\n```"
    done = summarise.run(context)
    assert (len(done["title"]), len(done["summary"])) == (summarise.MOST_TITLE, summarise.MOST_SUMMARY)


def test_a_long_transcript_is_shortened_at_its_sentences(make_context: MakeContext, model: Model, spent: list[int]) -> None:
    context = _context(make_context, model, spent, PIPELINE_LLM_CHARACTERS="200")
    context.data["transcript"] = " ".join(f"This is sentence number {n}." for n in range(100))
    summarise.run(context)
    sent = model.asked[0][0]["messages"][1]["content"].removeprefix("<transcript>\n").removesuffix("\n</transcript>")
    head, cut, tail = sent.split("\n")
    assert (head[:26], cut, tail[-27:]) == ("This is sentence number 0.", "[...]", "This is sentence number 99.")
    assert len(head) + len(tail) <= 200
    assert spent[0] < 200 // 3 + summarise.MOST_TOKENS + 10


@pytest.mark.parametrize("became", ["full", "none"])
def test_a_tenant_that_may_not_use_it_sends_nothing(context: JobContext, model: Model, became: str) -> None:
    context.spend = lambda tokens: became
    assert word(summarise.run(context)) == f"llm_{became}"
    assert model.asked == []


def test_addresses_that_nobody_may_name_and_servers_that_are_away(make_context: MakeContext, model: Model, spent: list[int]) -> None:
    for url, why in (
        ("http://169.254.169.254/v1", "llm_address_forbidden"), ("http://127.0.0.1:9/v1", "llm_unreachable"), ("", "llm_not_configured"),
    ):  # fmt: skip
        assert word(summarise.run(_context(make_context, model, spent, PIPELINE_LLM_URL=url))) == why


def test_the_key_comes_from_a_file_and_is_said_nowhere(
    make_context: MakeContext, model: Model, spent: list[int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "key"
    context = _context(make_context, model, spent, PIPELINE_LLM_KEY_FILE=str(key))
    assert word(summarise.run(context)) == "llm_key_unreadable"
    key.write_text("hush-hush\n")
    model.says = 401
    done = summarise.run(context)
    assert model.asked[0][1] == "Bearer hush-hush"
    said = capfd.readouterr()
    assert "hush" not in said.out + said.err + str(done) + str(context.settings.model_dump())


def test_an_answer_that_takes_too_long_is_given_up(context: JobContext, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summarise, "WHOLE_SECONDS", -1.0)
    assert word(summarise.run(context)) == "llm_slow"
