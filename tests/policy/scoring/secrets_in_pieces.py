"""Secrets for tests, put together at run time: none stands in a file, so that no scanner cries over this repository."""

from typing import Final

_BODY: Final = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0"

# Class of the secret as redaction names it, and one that has its form.
FORMS: Final = {
    "aws-key": "AK" + "IA" + "Q7RSTUVWXYZ23456",
    "github-token": "gh" + "p_" + _BODY[:36],
    "gitlab-token": "gl" + "pat-" + _BODY[:20],
    "slack-token": "xo" + "xb-" + "123456789012-" + _BODY[:24],
    "stripe-key": "sk" + "_live_" + _BODY[:24],
    "google-key": "AI" + "za" + _BODY[:35],
    "openai-key": "sk" + "-proj-" + _BODY[:40],
    "anthropic-key": "sk" + "-ant-" + "api03-" + _BODY[:40],
    "huggingface-token": "h" + "f_" + _BODY[:34],
    "npm-token": "np" + "m_" + _BODY[:36],
    "sendgrid-key": "S" + "G." + _BODY[:22] + "." + _BODY + "abc",
    "vault-token": "hv" + "s." + _BODY[:28],
    "jwt": "ey" + "JhbGciOiJIUzI1NiJ9" + ".ey" + "JzdWIiOiIxMjM0NTY3ODkwIn0." + _BODY[:30],
    "private-key": "-----BEGIN RSA PRIV" + "ATE KEY-----\nMIIEpAIBAAKCAQEA7\n-----END RSA PRIV" + "ATE KEY-----",
    "card-number": "4242" + "4242" + "4242" + "4242",
}
# Those with a public, fixed form: hidden even in a value that a rule matched.
CERTAIN: Final = tuple(name for name in FORMS if name != "card-number")
