r"""What secrets look like, wherever they stand.

`certain` patterns have a public, fixed form (a prefix that its issuer chose) and can be nothing else; the others go by
the words around them. Groups: where a pattern has a group, only what it holds is the secret, else the whole match.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import re2


@dataclass(frozen=True, slots=True)
class SecretPattern:
    """One kind of secret.

    Attributes:
        name: its class, as in ``[REDACTED:aws-key]``.
        regex: RE2, unanchored.
        hint: a cheaper RE2 that matches wherever `regex` does; empty: `regex` itself is cheap.
        certain: it can be nothing else.
        by_name: found by a name that the text's author chose, such as ``password=…``.
        check: a last look at the candidate, for what a regular expression cannot count.
        parts: where in the candidate the secrets are, as (start, end); omitted: it is one as a whole.
    """

    name: str
    regex: str
    hint: str = ""
    certain: bool = False
    by_name: bool = False
    check: Callable[[str], bool] | None = None
    parts: Callable[[str], Iterable[tuple[int, int]]] | None = None


def is_card_number(text: str) -> bool:
    """Whether the digits are 13–19 long, start like a payment card's and satisfy Luhn's checksum."""
    digits = [int(character) for character in text if character.isdigit()]
    if not 13 <= len(digits) <= 19 or digits[0] not in (2, 3, 4, 5, 6) or len(set(digits)) == 1:
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def card_numbers(text: str) -> Iterable[tuple[int, int]]:
    """Card numbers among digits that may stand in groups: any run of whole groups can be one."""
    groups = [match.span() for match in re.finditer(r"[0-9]+", text)]
    at = 0
    while at < len(groups):
        start = groups[at][0]
        # A card's digits come in at most as many groups as it has digits.
        ends = [end for _, end in groups[at : at + 19] if is_card_number(text[start:end])]
        if ends:
            yield start, ends[-1]
            at = next(index for index, (_, end) in enumerate(groups) if end == ends[-1])
        at += 1


def is_value(text: str) -> bool:
    """Whether what stands under a secret's name can be the secret: not its variable, our marker or a schema's word."""
    bare = text.strip("\\\"'")
    if re2.fullmatch(r"\$\{?[A-Z][A-Z0-9_]*\}?|\{\{ ?[\w.]+ ?\}\}|\[REDACTED:[\w-]+\]", bare):
        return False
    return bool(bare) and bare.lower() not in ("null", "none", "true", "false", "string", "undefined")


def _looks_random(text: str) -> bool:
    # "bearer authentication" is English; a credential has digits, an unusual mix of capitals, or great length.
    return len(text) >= 32 or any(character.isdigit() or character in "+/=_." for character in text[:-1])


def _has_digit(text: str) -> bool:
    return any(character.isdigit() for character in text)


_ANNOUNCED = (
    r"(?:passwords?|passwd|pwd|passphrase|secret(?:[_.-]?access)?(?:[_.-]?key)?|(?:auth|access|refresh|api|session|bearer)?"
    r"[_.-]?token|api[_.-]?key|access[_.-]?key|private[_.-]?key|account[_.-]?key|shared[_.-]?access[_.-]?key"
    r"|credentials?|pgpassword|mysql_pwd)"
)
# A line break, or one that is written out inside a string.
_BREAK: Final = r"(?:\s|\\[nr])"
_BARE_VALUE = r"""[^\s"'&;]+"""
_VALUE = rf"""(\\*"[^"]*"|\\*'[^']*'|{_BARE_VALUE})"""

PATTERNS: Final = (
    # Armour with a body that is nothing but encoded lines; prose between the markers is no key and no hiding place.
    SecretPattern(
        "private-key",
        rf"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----{_BREAK}*(?:Proc-Type: 4,ENCRYPTED{_BREAK}+)?"
        rf"(?:DEK-Info: [A-Z0-9-]+,[0-9A-F]+{_BREAK}+)?"
        rf"(?:[A-Za-z0-9+/=]{{16,}}{_BREAK}+)*[A-Za-z0-9+/=]{{0,80}}{_BREAK}*"
        r"(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
        hint=r"-----BEGIN",
        certain=True,
    ),
    SecretPattern(
        "private-key",
        r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?"
        r"(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
        hint=r"-----BEGIN",
        by_name=True,
    ),
    SecretPattern("private-key", r"\bAGE-SECRET-KEY-1[0-9A-Z]{50,}", hint="AGE-SECRET-KEY-1", certain=True),
    SecretPattern(
        "jwt",
        r"\beyJ[A-Za-z0-9_-]{6,}\.(?:[A-Za-z0-9_-]{6,}|)\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)?",
        hint=r"eyJ[A-Za-z0-9_-]*\.",
        certain=True,
    ),
    SecretPattern("aws-key", r"\b(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b", hint=r"AKIA|ASIA|ABIA|ACCA", certain=True),
    SecretPattern(
        "github-token",
        r"\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_[A-Za-z0-9_]{22,}",
        hint=r"gh[pousr]_|github_pat_",
        certain=True,
    ),
    SecretPattern("gitlab-token", r"\bgl(?:pat|dt|rt|ptt|soat)-[A-Za-z0-9_-]{20,}", hint=r"gl[a-z]+-", certain=True),
    SecretPattern(
        "slack-token",
        r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bxapp-[A-Za-z0-9-]{10,}",
        hint=r"xox[abeoprs]-|xapp-",
        certain=True,
    ),
    SecretPattern(
        "slack-webhook",
        r"hooks\.slack\.com/(?:services|workflows)/([A-Za-z0-9_/-]{20,})",
        hint=r"hooks\.slack\.com",
        certain=True,
    ),
    SecretPattern(
        "stripe-key",
        r"\b(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}|\bwhsec_[A-Za-z0-9+/=]{20,}",
        hint=r"[sr]k_(?:live|test)_|whsec_",
        certain=True,
    ),
    SecretPattern(
        "google-key",
        r"\bAIza[0-9A-Za-z_-]{35}|\bya29\.[0-9A-Za-z_-]{20,}|\bGOCSPX-[A-Za-z0-9_-]{20,}",
        hint=r"AIza|ya29\.|GOCSPX-",
        certain=True,
    ),
    SecretPattern("anthropic-key", r"\bsk-ant-[A-Za-z0-9_-]{20,}", hint="sk-ant-", certain=True, check=_has_digit),
    SecretPattern(
        "openai-key",
        r"\bsk-(?:proj-|svcacct-|admin-|or-v1-)?[A-Za-z0-9_-]{20,}",
        hint=r"\bsk-",
        certain=True,
        check=_has_digit,
    ),
    SecretPattern("huggingface-token", r"\bhf_[A-Za-z0-9]{30,}", hint=r"\bhf_", certain=True),
    SecretPattern("npm-token", r"\bnpm_[A-Za-z0-9]{36}\b", hint=r"\bnpm_", certain=True),
    SecretPattern("pypi-token", r"\bpypi-AgEI[A-Za-z0-9_-]{40,}", hint="pypi-AgEI", certain=True),
    SecretPattern("sendgrid-key", r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{30,}", hint=r"\bSG\.", certain=True),
    SecretPattern("digitalocean-token", r"\bdo[opr]_v1_[a-f0-9]{64}", hint=r"do[opr]_v1_", certain=True),
    SecretPattern("vault-token", r"\bhv[sbr]\.[A-Za-z0-9_-]{24,}", hint=r"\bhv[sbr]\.", certain=True),
    SecretPattern("telegram-token", r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}\b", hint=r"[0-9]:AA", certain=True),
    # scheme://user:password@host, up to the last @ before a slash, so that a password with an @ is hidden whole.
    SecretPattern(
        "url-password", r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@]*:([^\s/]+)@", hint=r"://[^\s/]*@", certain=True
    ),
    SecretPattern(
        "authorization",
        r"(?i)\b(?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?((?:[A-Za-z]+ +)?[^\s\"']+)",
        hint=r"(?i)authorization",
    ),
    SecretPattern("cookie", r"(?i)\b(?:set-)?cookie[\"']?\s*:\s*[\"']?([^\r\n\"']+)", hint=r"(?i)cookie"),
    SecretPattern(
        "bearer", r"(?i)\b(?:bearer|basic)\s+([A-Za-z0-9._~+/=-]{8,})", hint=r"(?i)bearer|basic", check=_looks_random
    ),
    SecretPattern(
        "password",
        r"""(?:^|\s)(?:-u|--user)[ =]["']?[^\s:"']+:([^\s"']+)""",
        hint=r"(?:-u|--user)[ =]",
        by_name=True,
        check=is_value,
    ),
    SecretPattern(
        "secret",
        rf"""(?i)(?:^|[^a-z])[a-z0-9_.-]*{_ANNOUNCED}["'\\]*\s*(?::|=>?|:=)\s*{_VALUE}""",
        hint=rf"(?i){_ANNOUNCED}",
        by_name=True,
        check=is_value,
    ),
    SecretPattern(
        "secret",
        rf"""(?i)(?:^|\s)--?[a-z0-9-]*{_ANNOUNCED}\s+{_VALUE}""",
        hint=rf"(?i){_ANNOUNCED}",
        by_name=True,
        check=is_value,
    ),
    SecretPattern(
        "secret",
        rf"(?i)<{_ANNOUNCED}>([^<]+)<",
        hint=rf"(?i){_ANNOUNCED}",
        by_name=True,
        check=is_value,
    ),
    SecretPattern(
        "card-number",
        r"(?:^|[^0-9.])([0-9](?:[ -]?[0-9]){12,})",  # not the digits of a fraction
        hint=r"(?:[0-9][ -]?){13}",
        parts=card_numbers,
    ),
)


def compiled(pattern: str) -> Any:
    """The pattern in RE2; ValueError says what is wrong with it."""
    options = re2.Options()
    options.log_errors = False  # the message goes to the author, not to this process's stderr
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        raise ValueError(reason.decode() if isinstance(reason, bytes) else str(reason)) from error
