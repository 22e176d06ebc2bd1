"""What makes two requests the same, which schemas are accepted, and what counts as an answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from spinemed.chat import ANY, ChatRequest, Decoding, Egress, EgressError, Schema, ServerConfig, prompt_bound
from spinemed.chat.budget import Prices
from spinemed.chat.egress import loopback_resolver, require
from spinemed.chat.rate import retry_after
from spinemed.chat.reply import judge, repair_of, usage_of
from spinemed.chat.request import request_key
from spinemed.chat.server import Connection, body_of, logged_form
from spinemed.errors import RecordError, SpineMedError
from spinemed.records import Message

Make = Callable[..., ChatRequest]
PNG = b"\x89PNG\r\n\x1a\n" + b"one"


def test_the_key_is_of_the_content_alone(request_for: Make) -> None:
    identity = {"name": "m", "revision": "1"}
    key = request_key(request_for("level?"), identity)
    assert key == request_key(request_for("level?", egress=ANY, tag="other"), {"revision": "1", "name": "m"})
    other = [
        request_key(request_for("level ?"), identity),
        request_key(request_for("level?", schema=False), identity),
        request_key(request_for("level?", max_tokens=201), identity),
        request_key(request_for("level?"), {"name": "m", "revision": "2"}),
        request_key(request_for("level?\n<image>", images=(PNG,)), identity),
        request_key(request_for("level?\n<image>", images=(PNG + b"two",)), identity),
    ]
    assert len({key, *other}) == 7


def test_pictures_leave_as_bytes_and_are_logged_as_their_hash(request_for: Make) -> None:
    config = ServerConfig(model="m")
    asked = request_for("<image>\nlevel?", images=(PNG,))
    parts = body_of(config, asked, with_images=True)["messages"][1]["content"]
    assert parts[0]["image_url"]["url"].startswith("data:image/png;base64,iVBORw0KGgp")
    assert parts[1] == {"type": "text", "text": "level?"}
    logged = json.dumps(logged_form(config, asked))
    assert f"sha256:{asked.image_sha256[0]}" in logged
    assert "base64" not in logged


def test_pictures_and_placeholders_must_agree(request_for: Make) -> None:
    with pytest.raises(RecordError, match="1 image placeholders for 0 pictures"):
        request_for("<image> level?")
    with pytest.raises(RecordError, match="neither PNG nor JPEG"):
        request_for("<image> level?", images=(b"GIF89a",))


class Open(BaseModel):
    said: str = Field(max_length=3)


class Endless(BaseModel):
    model_config = ConfigDict(extra="forbid")
    said: str


@pytest.mark.parametrize(("model", "fault"), [(Open, "is open"), (Endless, "without max_length")])
def test_schemas_that_invite_loops_are_refused(model: type[BaseModel], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Schema(model)


def completion(text: Any, finish: str = "stop", **more: Any) -> dict[str, Any]:
    choice = {"message": {"role": "assistant", "content": text, **more}, "finish_reason": finish}
    return {"status": 200, "reply": json.dumps({"choices": [choice]})}


GOOD = '{"verdict":"ok","grade":2,"notes":[]}'


@pytest.mark.parametrize(
    ("exchange", "reason"),
    [
        (completion(GOOD), ""),
        (completion(f"```json\n{GOOD}\n```"), ""),
        (completion(GOOD, "length"), "length"),
        (completion("{" + " \n" * 300, "length"), "whitespace_loop"),
        (completion("{" + " " * 300), "whitespace_loop"),
        (completion(GOOD[:-3]), "not_json"),
        (completion(f"Sure! {GOOD}"), "not_json"),
        (completion('{"verdict":"a","verdict":"b","grade":2,"notes":[]}'), "not_json"),
        (completion('{"verdict":"a","grade":NaN,"notes":[]}'), "not_json"),
        (completion("[" * 100_000), "not_json"),
        (completion('{"verdict":"ok","grade":"2","notes":[]}'), "wrong_schema"),
        (completion('{"verdict":"ok","grade":9,"notes":[]}'), "wrong_schema"),
        (completion('{"verdict":"ok","grade":2,"notes":[],"more":1}'), "wrong_schema"),
        (completion('{"verdict":"\\ud83d","grade":2,"notes":[]}'), "wrong_schema"),
        (completion("null"), "wrong_schema"),
        (completion(""), "empty"),
        (completion(None), "empty"),
        (completion("", refusal="no"), "refused"),
        (completion("", "content_filter"), "refused"),
        ({"status": 200, "reply": "<html>"}, "malformed_reply"),
        ({"status": 200, "reply": "[" * 200_000}, "malformed_reply"),
        ({"status": 200, "reply": '{"choices":[]}'}, "malformed_reply"),
        ({"status": 200, "reply": '{"choices":[null]}'}, "malformed_reply"),
        ({"status": 422, "reply": "unknown field"}, "rejected"),
    ],
)
def test_only_what_keeps_the_schema_is_an_answer(request_for: Make, exchange: dict[str, Any], reason: str) -> None:
    judged = judge(request_for("grade?"), exchange)
    assert judged.reason == reason
    assert (judged.value is not None) == (reason == "")


def test_a_loop_is_not_shown_to_the_model_again(request_for: Make) -> None:
    asked = request_for("grade?")
    loop = judge(asked, completion("{" + " \n" * 300, "length"))
    wrong = judge(asked, completion('{"verdict":"ok <image>"}'))
    repair_loop, repair_wrong = repair_of(asked, loop), repair_of(asked, wrong)
    assert repair_loop is not None
    assert repair_loop.messages[-2].content == "(no usable reply)"
    assert repair_wrong is not None
    assert "verdict" in repair_wrong.messages[-2].content
    assert "grade" in repair_wrong.messages[-1].content  # the fault is named
    assert repair_of(asked, judge(asked, completion("", refusal="no"))) is None


def test_text_without_a_schema_is_taken_as_it_is(request_for: Make) -> None:
    judged = judge(request_for("why?", schema=False), completion("half \ud83d of a pair"))
    assert (judged.reason, judged.text) == ("", "half ? of a pair")


def test_the_prompt_bound_is_no_smaller_than_its_bytes(request_for: Make) -> None:
    asked = request_for("第五腰椎" * 50 + "<image>", images=(PNG,))
    assert prompt_bound(asked, Prices(image_tokens=1000)) > 600 + 1000


@pytest.mark.parametrize(
    ("policy", "url", "permitted"),
    [
        (Egress(), "http://127.0.0.1:8000/v1", True),
        (Egress(), "http://127.8.9.1/v1", True),
        (Egress(), "http://[::1]:8000/v1", True),
        (Egress(), "http://[::ffff:127.0.0.1]/v1", True),
        (Egress(), "http://LOCALHOST.:8000/v1", True),
        (Egress(), "http://0.0.0.0:8000/v1", False),
        (Egress(), "http://2130706433/v1", False),
        (Egress(), "http://127.0.0.1.example.org/v1", False),
        (Egress(), "http://localhost.example.org/v1", False),
        (Egress(), "http://192.168.1.5/v1", False),
        (Egress(), "http://127.0.0.1@example.org/v1", False),
        (Egress(allow="listed", hosts=("gpu1.ward",)), "https://GPU1.ward./v1", True),
        (Egress(allow="listed", hosts=("gpu1.ward",)), "https://gpu1.ward.example.org/v1", False),
        (Egress(allow="listed", hosts=("gpu1.ward:8000",)), "http://gpu1.ward:8000/v1", True),
        (Egress(allow="listed", hosts=("gpu1.ward:443",)), "https://gpu1.ward/v1", True),
        (Egress(allow="listed", hosts=("gpu1.ward:8000",)), "http://gpu1.ward:9000/v1", False),
        (Egress(allow="listed", hosts=("strasse.ward",)), "https://stra\u00dfe.ward/v1", False),
        (ANY, "https://api.example.org/v1", True),
    ],
)
def test_where_content_may_go(policy: Egress, url: str, permitted: bool) -> None:
    assert policy.permits(url) is permitted
    if not permitted:
        with pytest.raises(EgressError, match="may not be sent to"):
            require(policy, url)


@pytest.mark.parametrize(("host", "refused"), [("127.0.0.1", False), ("192.0.2.1", True)])
def test_a_local_name_must_resolve_to_this_machine(host: str, refused: bool) -> None:
    import asyncio

    async def resolve() -> Any:
        return await loopback_resolver().resolve(host, 80)

    if refused:
        with pytest.raises(EgressError, match="not this machine"):
            asyncio.run(resolve())
    else:
        assert asyncio.run(resolve())[0]["host"] == host


def test_pauses_are_read_as_numbers_and_as_dates() -> None:
    assert retry_after("7") == 7
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert (retry_after("Fri, 31 Dec 2100 23:59:59 GMT") or 0) > 1e9
    assert retry_after("soon") is None
    assert retry_after("Mon, 01 Jan 2026 00:00:00 +99999999999999999999") is None
    assert retry_after("-3") is None
    assert retry_after(None) is None


@pytest.mark.parametrize(
    "usage",
    ['{"prompt_tokens":Infinity,"completion_tokens":1}', f'{{"prompt_tokens":{10**400},"completion_tokens":1}}'],
)
def test_a_count_that_no_request_can_have_is_no_count(usage: str) -> None:
    assert usage_of(f'{{"usage":{usage}}}') is None
    assert usage_of('{"usage":' + "[" * 200_000) is None


@pytest.mark.parametrize(
    ("target", "host"),
    [("http://[::1/x", "no address"), ("http://h.example/MRN1", "h.example"), ("/x", "another path")],
)
def test_a_redirect_to_a_broken_address_is_an_outcome_of_its_request(target: str, host: str) -> None:
    received = Connection(ServerConfig(model="tiny"))._sort(302, "", {"Location": target})
    assert (received.reason, received.detail) == ("redirected", f"status 302 to {host}, not followed")


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999/v1", "http://127.0.0.1:x/v1", "http://127.0.0.1:0/v1"])
def test_a_port_that_is_none_is_refused_with_the_config(url: str) -> None:
    with pytest.raises((SpineMedError, ValueError), match=r"[Pp]ort"):
        ServerConfig(model="tiny", url=url)


def test_a_conversation_ends_with_the_question() -> None:
    with pytest.raises(RecordError, match="ends with a user turn"):
        ChatRequest((Message(role="assistant", content="hello"),), decoding=Decoding())
