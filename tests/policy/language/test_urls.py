"""The host a URL leads to, where every client agrees (SECURITY A2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl.errors import EvaluationFailed
from hitl.policy.urls import HostPattern, host_of


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.example.com/v1?x=1#y", "api.example.com"),
        ("HTTPS://API.Example.COM./", "api.example.com"),
        ("http://good.com@evil.com/", "evil.com"),
        ("http://good.com:80@evil.com/", "evil.com"),
        ("http://good.com?@evil.com", "good.com"),
        ("http://good.com#@evil.com", "good.com"),
        ("postgres://u:p%40@db.internal:5432/x", "db.internal"),
        ("http://a_b.svc:8080/", "a_b.svc"),
        ("http://localhost", "localhost"),
        ("http://127.0.0.1:80/", "127.0.0.1"),
        ("http://\uff11\uff12\uff17.0.0.1/", "127.0.0.1"),
        ("http://[::1]:8080/", "::1"),
        ("http://[0:0:0:0:0:0:0:1]/", "::1"),
        ("http://[::ffff:10.0.0.1]/", "10.0.0.1"),
        ("http://b\u00fccher.example/", "xn--bcher-kva.example"),
        ("http://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("http://\uff45vil.com/", "evil.com"),
        ("http://\u0430pple.com/", "xn--pple-43d.com"),
        ("http://good.com/?q=\\x", "good.com"),
    ],
)
def test_A2_a_url_leads_to_one_host(url: str, host: str) -> None:
    """A2: user names, ports, capitals, dots, IDNA and address spellings do not hide where it leads."""
    assert host_of(url) == host


@pytest.mark.parametrize(
    "url",
    [
        "http://good.com\\@evil.com", "http://good.com\\evil", "http://good.com/\\evil", "https:/evil.com",
        "https:evil.com", "//evil.com",
        "https:///evil.com", "http://", "http://a@b@c", "http://a<b@c", "http://ex ample.com",
        "http://exam\tple.com", " http://example.com", "http://example.com\n", "http://ex%61mple.com", "http://a..b",
        "http://.a", "http://-a.com", "http://127.1", "http://0x7f.0.0.1", "http://2130706433", "http://0177.0.0.1",
        "http://1.2.3.256", "http://[fe80::1%25eth0]", "http://[::1", "http://a]", "http://x:99999", "http://x:",
        "http://x:-1",
        "http://x:\uff18\uff10", "http://fa\u00df.de", "http://a\u200db.com", "http://\u2100.com", "http://" + "a" * 64,
        "http://" + "a." * 130 + "b", "javascript:alert(1)", "file:///etc/passwd", "example.com", "/path",
        "", "x" * 9000,
    ],
)  # fmt: skip
def test_A2_a_url_that_clients_read_differently_is_not_judged(url: str) -> None:
    """A2: backslashes, missing slashes, spaces, odd numbers, encoded hosts, disputed letters: cannot be evaluated."""
    with pytest.raises(EvaluationFailed):
        host_of(url)


@pytest.mark.parametrize(
    ("pattern", "host", "matches"),
    [
        ("example.com", "example.com", True),
        ("Example.COM.", "example.com", True),
        ("example.com", "api.example.com", False),
        ("example.com", "evilexample.com", False),
        ("*.example.com", "api.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "evilexample.com", False),
        ("*.example.com", "api.example.com.evil.com", False),
        ("b\u00fccher.example", "xn--bcher-kva.example", True),
        ("10.0.0.1", "10.0.0.1", True),
        ("::1", "::1", True),
        ("[0:0::1]", "::1", True),
    ],
)
def test_A2_a_pattern_names_a_host_or_its_subdomains(pattern: str, host: str, matches: bool) -> None:
    """A2: `*.example.com` is every subdomain and nothing else."""
    assert HostPattern.parse(pattern).matches(host) is matches


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("https://example.com", "only the host"),
        ("example.com/x", "only the host"),
        ("example.com:443", "leave the port out"),
        ("*", "only stand first"),
        ("api.*.com", "only stand first"),
        ("*.*.com", "only stand first"),
        ("*.10.0.0.1", "no subdomains"),
        ("exa mple", "no host"),
        ("127.1", "no host"),
        ("", "no host"),
    ],
)
def test_a_host_pattern_that_is_none_is_refused(pattern: str, said: str) -> None:
    """With what to write instead."""
    with pytest.raises(ValueError, match=said):
        HostPattern.parse(pattern)


@given(st.text(max_size=80) | st.text("ht:/@\\.%[]#?a1 ", max_size=30).map(lambda rest: f"http://{rest}"))
def test_A2_any_text_gives_a_host_or_is_refused(text: str) -> None:
    """A2: what comes out is always a plain lower-case host, also by the quick way for ordinary URLs."""
    try:
        host = host_of(text)
    except EvaluationFailed:
        return
    assert host
    assert host.isascii()
    assert host == host.lower()
    assert not set(host) & set("/\\@?#%[] ")


@given(st.from_regex(r"https?://[a-z0-9.-]{1,20}(:[0-9]{1,6})?([/?#][!-~]{0,10})?", fullmatch=True))
def test_A2_the_quick_way_for_ordinary_urls_gives_the_same_host(url: str) -> None:
    """A2: capitals in the scheme switch the quick way off and must change nothing."""

    def outcome(text: str) -> str:
        try:
            return host_of(text)
        except EvaluationFailed:
            return "refused"

    assert outcome(url) == outcome(url.replace("http", "HTTP", 1))
