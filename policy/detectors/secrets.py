"""Detector `signals.secrets`: credentials in the text.

It knows the formats that issuers publish, the words that stand beside a credential, and random strings. It makes no
call to try a credential. A placeholder (`<password>`, `AKIA…EXAMPLE`, `${TOKEN}`) is not a credential.
"""

import math
from collections import Counter
from itertools import pairwise

import re2

from policy.detectors.argument_text import Reading
from policy.detectors.patterns import Finder, Pattern, combine

PLACEHOLDERS = (
    "example", "sample", "placeholder", "redacted", "changeme", "change_me", "change-me", "your", "xxxx", "****",
    "....", "dummy", "insert", "replace", "${", "{{", "}}", "$(", "%(", "abcdefgh", "todo", "secretref",
    "vault:", "arn:",
)  # fmt: skip
ELSEWHERE = ("/", "./", "~/", "http", "sha256:", "file:")
"""How a path, an address or a digest begins: where a credential is, not what it is."""

REFERENCE = re2.compile(r"\$?[A-Za-z_][A-Za-z0-9_.]*[\[(]|(?:self|os|settings|config|process|args|env|request)\.")
"""How a program names a value that it gets elsewhere."""

JOINTS = str.maketrans("", "", "_.-")
CLASSES = (str.islower, str.isupper, str.isdigit, lambda c: not c.isalnum())
SELF_EXPLAINING = frozenset({"password", "passwd", "passwort", "secret", "pass", "token"})


def entropy(text: str) -> float:
    """Return Shannon's bits per character."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values()) if text else 0.0


def is_real(value: str) -> bool:
    """Tell a value that could be a credential from a placeholder."""
    lower = value.lower()
    if lower in SELF_EXPLAINING or value[0] in "<[$%{":
        return False
    return len(set(value)) >= 5 and not any(word in lower for word in PLACEHOLDERS)


def is_password(value: str) -> bool:
    """Tell a password from a word or a reference: two kinds of character, and not words with joints."""
    bare = value.strip("\"'`).,;")
    if len(bare) < 6 or bare.startswith(ELSEWHERE) or REFERENCE.match(bare) or not is_real(bare):
        return False
    jointless = bare.translate(JOINTS)
    if jointless.isalpha() or jointless.isdigit():
        return False
    return sum(any(map(of_class, bare)) for of_class in CLASSES) >= 2


def is_bearer(value: str) -> bool:
    return is_password(value) and entropy(value) >= 3.0


def is_random(value: str) -> bool:
    """Tell a token drawn by chance from names, paths, digests and public keys: it changes class all the time."""
    bare = value.rstrip("=")
    if not 32 <= len(bare) <= 128 or bare.lower().startswith(("sha", "aaaa")) or not is_real(bare):
        return False
    classes = ["u" if c.isupper() else "l" if c.islower() else "d" for c in bare if c.isalnum()]
    changes = sum(before != after for before, after in pairwise(classes))
    return len(set(classes)) == 3 and changes >= 0.4 * len(bare) and entropy(bare) >= 4.0


NAMES = (
    "password|passwd|pwd|passphrase|pass_?word|secret|secret[_ -]?key|api[_ -]?(?:key|token)|access[_ -]?(?:key|token)"
    "|auth[_ -]?token|refresh[_ -]?token|client[_ -]?secret|(?:private|signing|encryption|account)[_ -]?key"
    "|contraseña|clave|passwort|kennwort|mot de passe|senha|wachtwoord|пароль|密码|パスワード"
)
GIVEN = r"[\"'`]?(?:[ \t]{0,3}(?:=>|:=|=|:|：|→)|[ \t]{1,3}(?:is|ist|es|est|é|was))[ \t]{0,3}[\"'`]?"
"""Between a name and its value."""


def _token(name: str, pattern: str, strength: float = 1.0) -> Pattern:
    return Pattern(name, rf"\b({pattern})", strength, is_real)


SECRETS = Finder(
    (
        Pattern("private key", r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----", 1.0),
        Pattern("PuTTY key", r"PuTTY-User-Key-File-[23]:", 1.0),
        _token("age key", r"AGE-SECRET-KEY-1[0-9A-Z]{50,60}"),
        _token("AWS key id", r"(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b"),
        _token("GitHub", r"gh[pousr]_[A-Za-z0-9]{36,255}"),
        _token("GitHub, fine-grained", r"github_pat_[A-Za-z0-9_]{36,255}"),
        _token("GitLab", r"gl(?:pat|dt|rt|cbt|ptt|ft)-[A-Za-z0-9_-]{20,64}"),
        _token("Slack", r"xox[abposer]-[A-Za-z0-9-]{10,250}"),
        _token("Slack hook", r"hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9+/]{20,90}"),
        _token("Discord hook", r"discord(?:app)?\.com/api/webhooks/\d{15,22}/[A-Za-z0-9_-]{40,90}"),
        _token("Stripe", r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,250}"),
        _token("Stripe hook", r"whsec_[A-Za-z0-9+/]{24,90}"),
        _token("OpenAI or Anthropic", r"sk-(?:proj-|ant-|svcacct-|or-v1-)?[A-Za-z0-9_-]{20,250}", 0.9),
        _token("Google API", r"AIza[0-9A-Za-z_-]{35}"),
        _token("Google OAuth", r"(?:ya29\.[0-9A-Za-z_-]{20,}|GOCSPX-[0-9A-Za-z_-]{20,40})"),
        _token("Hugging Face", r"hf_[A-Za-z0-9]{30,60}"),
        _token("npm", r"npm_[A-Za-z0-9]{36}"),
        _token("Python index", r"pypi-[A-Za-z0-9_-]{50,}"),
        _token("SendGrid", r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}"),
        _token("DigitalOcean", r"do[opr]_v1_[a-f0-9]{64}"),
        _token("Shopify", r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
        _token("Twilio", r"SK[0-9a-f]{32}\b", 0.7),
        _token("Telegram", r"\d{8,10}:AA[A-Za-z0-9_-]{33}"),
        _token("Vault", r"hv[sbr]\.[A-Za-z0-9_-]{24,300}"),
        _token("Databricks", r"dapi[a-f0-9]{32}"),
        _token("web token", r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{16,}", 0.9),
        _token("Azure storage", r"AccountKey=[A-Za-z0-9+/]{60,90}={0,2}"),
        Pattern("address with password", r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{0,64}:([^\s/@]{3,128})@", 0.9, is_real),
        Pattern(
            "authorization header",
            r"(?i)\b(?:bearer|basic|token)[ \t]{1,3}([A-Za-z0-9._~+/-]{16,}={0,2})",
            0.8,
            is_bearer,
        ),
        Pattern("named", rf"(?i)(?:{NAMES}){GIVEN}([^\s\"'`,<>]{{6,256}})", 0.8, is_password),
        Pattern(
            "option",
            r"(?i)--?(?:password|passwd|pass|token|api-?key|secret)[ =][\"']?([^\s\"'<>-][^\s\"'<>]{5,200})",
            0.8,
            is_password,
        ),
        Pattern("curl user", r"(?:-u|--user)[ =][\"']?[A-Za-z0-9._@-]{1,64}:([^\s\"'<>]{4,200})", 0.8, is_password),
        Pattern("by chance", r"([A-Za-z0-9+/_-]{32,}={0,2})", 0.3, is_random),
    )
)


def secrets(reading: Reading) -> float:
    """Return the detector score from 0.0 to 1.0. Base64 and hexadecimal runs are decoded and searched too."""
    if not reading.whole:
        return 1.0
    kinds = {kind.name: kind for kind in SECRETS.find(reading.bytes)}
    if reading.decoded:
        kinds |= {k.name: k for k in SECRETS.find(reading.decoded.encode("utf-8", "replace")) if k.name != "by chance"}
    return combine(kind.strength for kind in kinds.values())
