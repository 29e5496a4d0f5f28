"""Which argument names announce a secret, by the words in them: ``dbPassword`` does, ``password_count`` does not."""

import unicodedata
from functools import lru_cache
from typing import Final

from hitl.policy.names import word_set, words_of

# What a name's last word says its value is.
_LAST_WORD: Final[dict[str, str]] = {
    "password": "password",
    "passwords": "password",
    "passwd": "password",
    "passphrase": "password",
    "passcode": "password",
    "pwd": "password",
    "pgpassword": "password",
    "secret": "secret",
    "secrets": "secret",
    "token": "token",
    "jwt": "token",
    "bearer": "token",
    "apikey": "api-key",
    "accesskey": "api-key",
    "secretkey": "api-key",
    "privatekey": "private-key",
    "authorization": "authorization",
    "cookie": "cookie",
    "cookies": "cookie",
    "credential": "credential",
    "credentials": "credential",
    "creds": "credential",
    "pin": "pin",
    "pincode": "pin",
    "otp": "one-time-code",
    "totp": "one-time-code",
    "cvv": "card-code",
    "cvc": "card-code",
    "csc": "card-code",
    "ssn": "social-security-number",
    "mnemonic": "seed-phrase",
}
# What the last two words say where the last alone says nothing.
_LAST_TWO: Final[dict[tuple[str, ...], str]] = {
    **{(kind, "key"): "api-key" for kind in ("api", "access", "secret", "auth", "account", "service", "subscription")},
    **{(kind, "key"): "api-key" for kind in ("license", "deploy", "storage", "admin", "app", "application", "webhook")},
    **{
        (kind, "key"): "private-key" for kind in ("private", "signing", "encryption", "encrypt", "master", "ssh", "rsa")
    },
    **{
        (kind, "key"): "private-key" for kind in ("session", "shared", "symmetric", "aes", "hmac", "pgp", "gpg", "host")
    },
    **{(kind, "tokens"): "token" for kind in ("access", "refresh", "api", "auth", "bearer", "session", "id")},
    **{
        (kind, "code"): "one-time-code"
        for kind in ("verification", "otp", "mfa", "totp", "backup", "recovery", "login")
    },
    **{
        (kind, "pass"): "password" for kind in ("db", "user", "admin", "smtp", "ftp", "login", "root", "mysql", "redis")
    },
    **{(kind, "pass"): "password" for kind in ("ssh", "basic", "http", "proxy", "auth", "my", "database", "postgres")},
    **{(kind, "auth"): "authorization" for kind in ("basic", "http", "proxy", "bearer", "digest")},
    **{(kind, "phrase"): "seed-phrase" for kind in ("seed", "recovery", "mnemonic", "secret")},
    **{("cvv", digit): "card-code" for digit in ("1", "2")},
    ("pin", "code"): "pin",
    ("security", "code"): "card-code",
    ("card", "code"): "card-code",
    ("card", "number"): "card-number",
    ("credit", "card"): "card-number",
    ("security", "number"): "social-security-number",
}
_WHOLE: Final[dict[tuple[str, ...], str]] = {
    ("pass",): "password",
    ("auth",): "authorization",
    ("creditcard",): "card-number",
}
# Words that say in which form the secret comes, or which of two it is; cut off before looking.
_NEUTRAL: Final = word_set(
    "value text plain plaintext raw string data b64 base64 hash hex new old current confirm confirmation again repeat "
    "env var variable header field input 1 2"
)
# Tokens of these kinds are places in a list or numbers of words, not secrets.
_HARMLESS_TOKEN: Final = word_set(
    "page next continuation pagination cursor sync resume start end previous prev max min per stop first last special "
    "eos bos pad delta nextpage"
)
# Written without a boundary between the words.
_JOINED: Final = {
    "password": "password",
    "passwd": "password",
    "passphrase": "password",
    "apikey": "api-key",
    "secretkey": "api-key",
    "accesskey": "api-key",
    "privatekey": "private-key",
    "authtoken": "token",
    "accesstoken": "token",
    "refreshtoken": "token",
    "sessiontoken": "token",
    "bearertoken": "token",
    "clientsecret": "secret",
}


def secret_class(name: str) -> str | None:
    """What kind of secret a value of this name is, or None.

    Args:
        name: an argument's name in any spelling: ``api_key``, ``apiKey``, ``X-API-Key``.
    """
    return _class_of(name[-128:])  # longer names are prose; the words that matter stand at the end


@lru_cache(maxsize=8192)
def _class_of(name: str) -> str | None:
    words = words_of(unicodedata.normalize("NFKC", name))
    while len(words) > 1 and words[-1] in _NEUTRAL and words[-2:] not in _LAST_TWO:
        words = words[:-1]
    if not words:
        return None
    if words[-1] == "token" and words[-2:-1] and words[-2] in _HARMLESS_TOKEN:
        return None
    found = _WHOLE.get(words) or _LAST_WORD.get(words[-1]) or _LAST_TWO.get(words[-2:])
    if found:
        return found
    joined = "".join(words)
    return next((kind for ending, kind in _JOINED.items() if joined.endswith(ending)), None)


def _hint() -> str:
    pairs = {f"{first}[^a-z0-9]*{second}" for first, second in _LAST_TWO}
    words = {*_LAST_WORD, *_JOINED, "pass", "auth"}
    # Short words stand inside many others ("shipping"); they count where a word of a name begins and ends.
    short = sorted(word for word in words if len(word) <= 4)
    begun = [*(f"[^A-Za-z]{word}" for word in short), *map(str.title, short), *map(str.upper, short)]
    long = sorted({word for word in words if len(word) > 4} | pairs)
    return rf'(?i:{"|".join(long)})|(?:{"|".join(begun)})(?:[^a-z"][^"]*)?"|"Secret"'


# RE2. Where it matches nothing in a JSON text without backslashes, no string in it has a class.
HINT: Final = _hint()
