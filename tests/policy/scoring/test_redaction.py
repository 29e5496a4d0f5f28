"""What leaves the sidecar: no secret, wherever it stands, and no hiding place either (I10, SECURITY G2)."""

import base64
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hitl.errors import InvalidInput, InvalidPolicy
from hitl.policy.actions import Action
from hitl.policy.escaping import plain
from hitl.policy.redaction import Preview, compile_redaction
from hitl.policy.secret_names import HINT, secret_class
from hitl.policy.secret_patterns import compiled, is_card_number
from hitl.policy.secret_scan import Scan
from hitl.policy.spec import Redaction, RedactionPattern
from hitl.policy.strict_json import render_json
from policy.scoring.secrets_in_pieces import CERTAIN, FORMS

LIMIT = 16 * 1024
PASSWORD = "correct" + "-horse-9"
WORDS = st.text(st.characters(codec="utf-8"), max_size=12)


def preview(arguments: dict[str, Any], *, keep: tuple[str, ...] = (), limit: int = LIMIT, **redaction: Any) -> Preview:
    """The preview of these arguments under one policy's redaction."""
    return compile_redaction((Redaction(**redaction),)).preview(arguments, limit, keep)


def everything(shown: Preview) -> str:
    """All text of a preview, with the JSON read back: what anybody could find in it."""
    return f"{shown.text} {json.loads(shown.text)} {shown.arguments} {shown.redacted} {shown.mixed_script}"


PLACES = {
    "a value": lambda secret: {"x": secret},
    "prose": lambda secret: {"body": f"please use {secret} today, thanks"},
    "a line of a file": lambda secret: {"content": f"a = 1\nb = {secret}\nc = 3\n"},
    "deep inside": lambda secret: {"a": [{"b": [[{"c": secret}]]}]},
    "a name": lambda secret: {secret: 1, "b": {secret: 2}},
    "a name among equals": lambda secret: {secret: 1, "[REDACTED:x]": 2, secret + " ": 3},
    "JSON in a string": lambda secret: {"payload": json.dumps({"inner": json.dumps([secret])})},
    "JSON escapes in a string": lambda secret: {"payload": "{" + f'"a":"{_as_escapes(secret)}"' + "}"},
    "a command line": lambda secret: {"command": f"curl -H 'X-Key: {secret}' https://example.com"},
    "split by an invisible character": lambda secret: {"x": f"{secret[:6]}\u200b{secret[6:]}"},
    "beside text that needs escapes": lambda secret: {"x": f'"\\ \x1b {secret} \u202e'},
}


def _as_escapes(text: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in text)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("form", FORMS)
def test_I10_no_known_secret_survives_anywhere(form: str, place: str) -> None:
    """I10: every kind of secret is hidden in every place, and the finding names its class."""
    secret = FORMS[form]
    shown = preview(PLACES[place](secret))
    assert secret not in everything(shown)
    assert secret[8:] not in everything(shown)
    assert form in shown.findings
    assert f"[REDACTED:{form}]" in shown.text


@example("card-number", "", "0", [], False)
@given(st.sampled_from(sorted(FORMS)), WORDS, WORDS, st.lists(WORDS, max_size=3), st.booleans())
def test_I10_no_secret_survives_whatever_stands_around_it(
    form: str, before: str, after: str, names: list[str], encoding: bool
) -> None:
    """I10: random names, neighbours and depth do not bring a secret into the preview."""
    secret = FORMS[form]
    value: Any = f"{before} {secret} {after}"
    for name in names:
        value = {name: [value]}
    shown = compile_redaction((Redaction(detect_encoding=encoding),)).preview({"x": value}, LIMIT)
    assert secret not in everything(shown)


@example({"customer_x": "¿"}, False)
@example({"apiKey": "é"}, True)
@given(
    st.dictionaries(
        WORDS | st.sampled_from(["password", "note", "pin", "env", "value", "name", "apiKey", "customerNote"]),
        st.recursive(
            WORDS
            | st.integers(-(2**53) + 1, 2**53 - 1)
            | st.none()
            | st.sampled_from([*FORMS.values(), "api_key", "x=1"]),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
            max_leaves=6,
        ),
        max_size=5,
    ),
    st.booleans(),
)
def test_I10_the_quick_look_never_misses_what_the_walk_finds(arguments: dict[str, Any], encoding: bool) -> None:
    """I10: arguments that pass as clean by one search are exactly what the thorough walk leaves alone."""
    redactor = compile_redaction(
        (
            Redaction(
                keys=("customer_*",),
                patterns=(RedactionPattern("ticket", "BILL-[0-9]+"),),
                detect_encoding=encoding,
            ),
        )
    )
    shown = redactor.preview(arguments, LIMIT)
    scan = Scan(redactor._request)
    assert shown.arguments == scan.value(arguments)
    assert shown.findings == scan.findings
    assert plain(shown.text)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("password", "password"),
        ("dbPassword", "password"),
        ("DB_PASS", "password"),
        ("passwd_confirm", "password"),
        ("ＰＡＳＳＷＯＲＤ", "password"),  # noqa: RUF001 - full-width on purpose
        ("X-API-Key", "api-key"),
        ("apikey", "api-key"),
        ("aws_secret_access_key", "api-key"),
        ("privateKey", "private-key"),
        ("client_secret", "secret"),
        ("accessToken", "token"),
        ("Authorization", "authorization"),
        ("Set-Cookie", "cookie"),
        ("pin", "pin"),
        ("cardPin", "pin"),
        ("cvv", "card-code"),
        ("card_number", "card-number"),
        ("otp_code", "one-time-code"),
        ("seed_phrase", "seed-phrase"),
        ("page_token", None),
        ("nextPageToken", None),
        ("max_tokens", None),
        ("token_count", None),
        ("password_count", None),
        ("shipping", None),
        ("pinned", None),
        ("opinion", None),
        ("author", None),
        ("primary_key", None),
        ("keyboard", None),
        ("secretary", None),
        ("ssh_key_path", None),
        ("", None),
    ],
)
def test_I10_names_announce_secrets_by_their_words(name: str, kind: str | None) -> None:
    """I10: camelCase, snake_case and headers are read as words, so lookalikes are left alone."""
    assert secret_class(name) == kind
    if kind and name.isascii():
        assert compiled(HINT).search(json.dumps({name: "x"}))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"password": PASSWORD}, '{"password":"[REDACTED:password]"}'),
        ({"pin": 1234, "ok": True}, '{"pin":"[REDACTED:pin]","ok":true}'),
        ({"auth": {"user": "bob", "on": False}}, '{"auth":{"user":"[REDACTED:authorization]","on":false}}'),
        ({"password": ""}, '{"password":""}'),
        ({"password": "${DB_PASSWORD}"}, '{"password":"${DB_PASSWORD}"}'),
        (
            {"env": [{"name": "DB_PASSWORD", "value": PASSWORD}, {"name": "TZ", "value": "UTC"}]},
            '{"env":[{"name":"DB_PASSWORD","value":"[REDACTED:password]"},{"name":"TZ","value":"UTC"}]}',
        ),
        ({"headers": [["Authorization", PASSWORD]]}, '{"headers":[["Authorization","[REDACTED:authorization]"]]}'),
        ({"argv": ["mysql", "--password", PASSWORD]}, '{"argv":["mysql","--password","[REDACTED:password]"]}'),
        ({"kind": "Secret", "data": {"a": "aHVudGVyMg=="}}, '{"kind":"Secret","data":{"a":"[REDACTED:secret]"}}'),
        ({"c": f"mysql --password {PASSWORD} -u root"}, '{"c":"mysql --password [REDACTED:secret] -u root"}'),
        ({"c": f"PGPASSWORD={PASSWORD} psql"}, '{"c":"PGPASSWORD=[REDACTED:secret] psql"}'),
        ({"c": f"curl -u bob:{PASSWORD} x.y"}, '{"c":"curl -u bob:[REDACTED:password] x.y"}'),
        ({"c": f"password: {PASSWORD}\nuser: bob"}, '{"c":"password: [REDACTED:secret]\\nuser: bob"}'),
        ({"c": f"<Password>{PASSWORD}</Password>"}, '{"c":"<Password>[REDACTED:secret]</Password>"}'),
        ({"u": "postgres://bob:p@ss@db/x"}, '{"u":"postgres://bob:[REDACTED:url-password]@db/x"}'),
        ({"h": "Authorization: Basic Ym9iOng="}, '{"h":"Authorization: [REDACTED:authorization]"}'),
        ({"h": "bearer authentication is used"}, '{"h":"bearer authentication is used"}'),
        ({"q": "?page=2&token=abc123&x=1"}, '{"q":"?page=2&token=[REDACTED:secret]&x=1"}'),
        ({"card": "4242 4242 4242 4242"}, '{"card":"[REDACTED:card-number]"}'),
        ({"card": "1234 4242 4242 4242 4242 07/29 7"}, '{"card":"1234 [REDACTED:card-number] 07/29 7"}'),
        ({"f": "0.4242424242424242"}, '{"f":"0.4242424242424242"}'),
        ({"n": 4242424242424242}, '{"n":"[REDACTED:card-number]"}'),
        ({"n": 4242424242424241, "t": 1763733000123}, '{"n":4242424242424241,"t":1763733000123}'),
    ],
)
def test_I10_what_is_hidden_and_what_stays(arguments: dict[str, Any], text: str) -> None:
    """I10: only the secret goes; what surrounds it stays for the reviewer."""
    assert preview(arguments).text == text


@pytest.mark.parametrize("wrap", ["base64", "urlsafe", "hex", "utf-16", "twice", "wrapped lines"])
def test_I10_encoded_secrets_are_found_if_the_policy_asks(wrap: str) -> None:
    """I10: detectEncoding looks into base64 and hex, also nested, also in lines; without it they are left alone."""
    plain_bytes = f"export KEY='{FORMS['aws-key']}' # {'padding ' * 10}".encode()
    encoded = {
        "base64": base64.b64encode(plain_bytes).decode(),
        "urlsafe": base64.urlsafe_b64encode(plain_bytes).decode().rstrip("="),
        "hex": plain_bytes.hex(),
        "utf-16": base64.b64encode(plain_bytes.decode().encode("utf-16-le")).decode(),
        "twice": base64.b64encode(base64.b64encode(plain_bytes)).decode(),
        "wrapped lines": base64.encodebytes(plain_bytes).decode().strip(),
    }[wrap]
    arguments = {"data": f"echo {encoded} | base64 -d"}
    assert preview(arguments, detect_encoding=True).findings == ("aws-key",)
    assert encoded not in everything(preview(arguments, detect_encoding=True))
    assert preview(arguments).findings == ()


def test_G2_a_class_is_shown_and_the_length_is_told_beside_the_text() -> None:
    """G2: the text has the class alone; place and length of each replacement are in `redacted`."""
    shown = preview({"a": [{"key": FORMS["aws-key"]}], "password": "x" * 9})
    assert shown.text == '{"a":[{"key":"[REDACTED:aws-key]"}],"password":"[REDACTED:password]"}'
    assert shown.redacted == (("/a/0/key", "aws-key", 20), ("/password", "password", 9))


@pytest.mark.parametrize("keep", ["token", "/token"])
def test_G2_a_value_that_a_rule_matched_is_never_hidden(keep: str) -> None:
    """G2: neither its name nor an author's pattern hides it; other arguments are hidden as ever."""
    arguments = {"token": {"to": ["ana-4711", 4242424242424242]}, "secret": "x" * 5}
    shown = preview(arguments, keep=(keep,), patterns=(RedactionPattern("customer", "ana-[0-9]+"),))
    assert shown.arguments == {"token": arguments["token"], "secret": "[REDACTED:secret]"}
    assert shown.patchable == ("/token",)


@pytest.mark.parametrize("form", CERTAIN)
def test_I10_a_live_credential_is_hidden_even_where_a_rule_looked(form: str) -> None:
    """I10, G2: what has a public, fixed form says all by its class; it does not go into a stored object."""
    shown = preview({"content": f"x {FORMS[form]} y"}, keep=("/content",))
    assert FORMS[form] not in everything(shown)
    assert shown.findings == (form,)


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        ({"password": "x" * 128}, False),
        ({"password": "x" * 129}, True),
        ({"a": {"password": "x" * 70}, "b": {"secret": "x" * 70}}, True),
        ({"c": 'password="' + "rm -rf / " * 20 + '"'}, True),
        ({"password": FORMS["jwt"] * 3}, True),
        ({"password": FORMS["jwt"]}, False),
        ({"x": FORMS["private-key"] + "\n" + FORMS["private-key"]}, False),
        ({"x": FORMS["private-key"].replace("MII", "and then delete all customers of the shop, " * 5)}, True),
        ({"x": "y" * 1000}, False),
    ],
)
def test_G2_much_text_hidden_under_a_chosen_name_counts_against_the_call(
    arguments: dict[str, Any], heavy: bool
) -> None:
    """G2: over 128 characters hidden by name alone are heavy; recognised kinds of secrets are not counted."""
    assert preview(arguments).heavy is heavy


def test_G2_a_name_that_the_policy_knows_is_not_the_agents_choice() -> None:
    """G2: declared top-level arguments may be long secrets; the same name deeper inside is the agent's again."""
    redactor = compile_redaction(())
    assert not redactor.preview({"password": "x" * 300}, LIMIT, declared=("password",)).heavy
    assert redactor.preview({"password": {"password": "x" * 300}}, LIMIT, declared=("password",)).heavy


def test_the_authors_keys_and_patterns_are_added_by_scope() -> None:
    """Keys are globs over any spelling; patterns count for requests, responses or both."""
    redactor = compile_redaction(
        (
            Redaction(keys=("customer_*",), patterns=(RedactionPattern("ticket", "BILL-[0-9]+", "request"),)),
            Redaction(responses=True, patterns=(RedactionPattern("ticket", "TCK-[0-9]+", "response"),)),
        )
    )
    shown = redactor.preview({"customerName": "Ana", "x": "BILL-812 TCK-1", "customer": "bo"}, LIMIT)
    assert shown.text == '{"customerName":"[REDACTED:customer]","x":"[REDACTED:ticket] TCK-1","customer":"bo"}'
    assert redactor.redact_json(b'{"a":"BILL-812 TCK-1"}') == (b'{"a":"BILL-812 [REDACTED:ticket]"}', ("ticket",))


def test_an_anchored_pattern_is_held_against_each_value() -> None:
    """^ and $ mean the value, not the whole JSON text."""
    shown = preview({"a": "x1", "b": "ax1"}, patterns=(RedactionPattern("code", "^x[0-9]$"),))
    assert shown.text == '{"a":"[REDACTED:code]","b":"ax1"}'


@pytest.mark.parametrize("regex", ["(", "a*", "(?=x)"])
def test_a_bad_pattern_is_named(regex: str) -> None:
    """What is no RE2, or matches everywhere, does not compile; the path says which pattern."""
    with pytest.raises(InvalidPolicy) as refusal:
        compile_redaction((Redaction(patterns=(RedactionPattern("mine", regex),)),))
    assert refusal.value.problems[0].path == "redaction.patterns[mine].regex"


def test_G2_what_does_not_fit_shows_head_tail_and_size() -> None:
    """G2: a long value loses its middle and says how much; it cannot be edited, the others can."""
    shown = preview({"content": "start" + "x" * 100_000 + "end", "to": "ana"})
    content = json.loads(shown.text)["content"]
    assert shown.oversize
    assert content.startswith("start")
    assert content.endswith("end")
    assert f"… {100_008 - 2730 - 1365} more …" in content
    assert shown.patchable == ("/to",)
    assert shown.arguments["content"].endswith("end")


def test_G2_too_many_values_show_the_head_and_tail_of_the_whole() -> None:
    """G2: where shortening strings does not help, both ends and the size of the text are left; nothing is editable."""
    shown = preview({f"k{number}": "\u202e" * 60 for number in range(2000)})
    rest = json.loads(shown.text)
    assert rest["…"].startswith("2000 arguments, ")
    assert rest["head"].startswith('{"k0":')
    assert (shown.oversize, shown.patchable) == (True, ())


@given(st.dictionaries(WORDS, st.text(max_size=300), max_size=30), st.integers(200, 3000))
def test_G1_a_preview_fits_and_is_plain_json(arguments: dict[str, str], limit: int) -> None:
    """G1: whatever the arguments, the text is valid JSON, plain, and within the limit in bytes."""
    shown = preview(arguments, limit=limit)
    assert isinstance(json.loads(shown.text), dict)
    assert plain(shown.text)
    assert len(shown.text.encode()) <= limit
    for value in json.loads(shown.text).values():
        assert plain(value.replace("\n", " ").replace("\t", " "))


def test_G1_two_arguments_never_become_one_in_the_preview() -> None:
    """G1: names that differ in hidden characters, or hide the same class, all stay visible."""
    shown = preview({"a": 1, "a\u200b": 2, "a\n": 3, "a⏎": 4, FORMS["aws-key"]: 5, FORMS["aws-key"] + " ": 6})
    assert sorted(json.loads(shown.text).values()) == [1, 2, 3, 4, 5, 6]


def test_D3_only_what_was_shown_whole_and_unredacted_may_be_patched() -> None:
    """D3: redacted, hidden-named and nested-redacted arguments are not editable."""
    shown = preview({"amount": 1, "password": "x", "a/b": {"ok": 1}, "deep": [{"pin": 1}], "c\u200b": 1})
    assert shown.patchable == ("/amount", "/a~1b")
    assert preview({"amount": 1, "a/b": "x"}).patchable == ("/amount", "/a~1b")


def test_G1_mixed_scripts_are_flagged_in_the_preview() -> None:
    """G1: the reviewer is told which word only looks like another."""
    assert preview({"to": "p\u0430ypal"}).mixed_script == (r"p\u0430ypal",)
    assert preview({"to": "p\u0430ypal\x1b"}).mixed_script == (r"p\u0430ypal",)


def test_I14_redaction_is_deterministic() -> None:
    """I14: the same arguments give the same preview, object for object."""
    arguments = {"a": list(FORMS.values()), "password": "x", "b": {"c": "Bearer abcdefgh1"}}
    assert preview(arguments) == preview(json.loads(json.dumps(arguments)))


def test_rendered_bytes_spare_the_writing_and_change_nothing() -> None:
    """The caller may hand over the bytes it already has."""
    arguments = {"a": "é\n", "b": [1.5, None]}
    redactor = compile_redaction(())
    assert redactor.preview(arguments, LIMIT, rendered=render_json(arguments)) == redactor.preview(arguments, LIMIT)


@pytest.mark.parametrize("form", FORMS)
def test_I10_an_agents_prose_loses_its_secrets(form: str) -> None:
    """I10: justification, context and summary go through the same rules."""
    text, findings = compile_redaction(()).redact_text(f"I need it because {FORMS[form]} é \ud800")
    assert FORMS[form] not in text
    assert findings == (form,)


def test_results_keep_their_spelling_and_lose_their_secrets() -> None:
    """A result's numbers are the tool's own, however long; only secrets are replaced."""
    redactor = compile_redaction((Redaction(responses=True),))
    data = b'{"id": 123456789012345678901234567890, "f": 1.10, "password": "hunter2", "n": 4242424242424242}'
    shown, findings = redactor.redact_json(data)
    assert shown == (
        b'{"id":123456789012345678901234567890,"f":1.10,"password":"[REDACTED:password]","n":"[REDACTED:card-number]"}'
    )
    assert findings == ("card-number", "password")
    clean = b'{"id": 123456789012345678901234567890,  "x": "\\u00e4"}'
    assert redactor.redact_json(clean) == (clean, ())


def test_results_are_only_touched_if_a_policy_asks() -> None:
    """Without `responses` a result goes through as it is."""
    data = b'{"password":"hunter2"}'
    assert compile_redaction(()).redact_json(data) == (data, ())


@pytest.mark.parametrize(
    "data", [b'{"password":', b'{"a":NaN,"token":1}', b'"\xff token"', b'["\\ud800 token"]', b"[" * 5000 + b'"token"']
)
def test_I2_a_result_that_cannot_be_read_is_withheld(data: bytes) -> None:
    """I2, I10: nobody can say what is in it, so it is refused, not passed on."""
    with pytest.raises(InvalidInput, match="cannot be read"):
        compile_redaction((Redaction(responses=True),)).redact_json(data)


def test_the_strictest_policy_says_what_oversize_means() -> None:
    """One policy that denies what does not fit is enough."""
    lax, strict = Redaction(oversize=Action.MULTI_FACTOR), Redaction()
    assert compile_redaction((lax,)).oversize is Action.MULTI_FACTOR
    assert compile_redaction((lax, strict)).oversize is Action.DENY
    assert compile_redaction(()).oversize is Action.DENY


def test_A5_a_text_full_of_secrets_is_hidden_from_the_200th_on() -> None:
    """A5: looking on would cost time and show nothing; what follows is hidden with it."""
    shown = preview({"x": f"{FORMS['aws-key']} plain " * 1000})
    assert FORMS["aws-key"] not in shown.text
    assert shown.text.count("REDACTED") <= 201
    assert "plain" in shown.text


@pytest.mark.parametrize(
    ("text", "is_card"),
    [
        ("4242424242424242", True),
        ("5555 5555 5555 4444", True),
        ("3782-822463-10005", True),
        ("4242424242424241", False),
        ("4444444444444444", False),
        ("1234567812345670", False),
        ("424242424242", False),
    ],
)
def test_a_card_number_satisfies_luhn(text: str, is_card: bool) -> None:
    """Order numbers of the same length are left alone, nine times out of ten."""
    assert is_card_number(text) is is_card
