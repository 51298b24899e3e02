"""`signals.secrets`: credentials in the text, by the formats that issuers publish, by the words beside them, by chance.

No call goes out to try one. A placeholder (`<password>`, `AKIA…EXAMPLE`, `${TOKEN}`) is none.
"""

from policy.detectors.argument_text import Reading
from policy.detectors.credential_shapes import is_bearer, is_password, is_random, is_real
from policy.detectors.patterns import Finder, Kind, together

NAMES = (
    "password|passwd|pwd|passphrase|pass_?word|secret|secret[_ -]?key|api[_ -]?(?:key|token)|access[_ -]?(?:key|token)"
    "|auth[_ -]?token|refresh[_ -]?token|client[_ -]?secret|(?:private|signing|encryption|account)[_ -]?key"
    "|contraseña|clave|passwort|kennwort|mot de passe|senha|wachtwoord|пароль|密码|パスワード"
)
GIVEN = r"[\"'`]?(?:[ \t]{0,3}(?:=>|:=|=|:|：|→)|[ \t]{1,3}(?:is|ist|es|est|é|was))[ \t]{0,3}[\"'`]?"
"""Between a name and its value."""


def _token(name: str, pattern: str, strength: float = 1.0) -> Kind:
    return Kind(name, rf"\b({pattern})", strength, is_real)


SECRETS = Finder(
    (
        Kind("private key", r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----", 1.0),
        Kind("PuTTY key", r"PuTTY-User-Key-File-[23]:", 1.0),
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
        Kind("address with password", r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{0,64}:([^\s/@]{3,128})@", 0.9, is_real),
        Kind(
            "authorization header",
            r"(?i)\b(?:bearer|basic|token)[ \t]{1,3}([A-Za-z0-9._~+/-]{16,}={0,2})",
            0.8,
            is_bearer,
        ),
        Kind("named", rf"(?i)(?:{NAMES}){GIVEN}([^\s\"'`,<>]{{6,256}})", 0.8, is_password),
        Kind(
            "option",
            r"(?i)--?(?:password|passwd|pass|token|api-?key|secret)[ =][\"']?([^\s\"'<>-][^\s\"'<>]{5,200})",
            0.8,
            is_password,
        ),
        Kind("curl user", r"(?:-u|--user)[ =][\"']?[A-Za-z0-9._@-]{1,64}:([^\s\"'<>]{4,200})", 0.8, is_password),
        Kind("by chance", r"([A-Za-z0-9+/_-]{32,}={0,2})", 0.3, is_random),
    )
)


def secrets(reading: Reading) -> float:
    """Measure; what is Base64 or hexadecimal is looked into as well."""
    if not reading.whole:
        return 1.0
    kinds = {kind.name: kind for kind in SECRETS.found(reading.bytes)}
    if reading.decoded:
        kinds |= {k.name: k for k in SECRETS.found(reading.decoded.encode("utf-8", "replace")) if k.name != "by chance"}
    return together(kind.strength for kind in kinds.values())
