"""`signals.pii`: what points to one person: addresses, telephone, card, bank and identity numbers.

By shape and check digits, so names, postal addresses and descriptions stay unseen.
"""

from policy.detectors.argument_text import Reading
from policy.detectors.check_digits import digits, is_card, is_cpf, is_dni, is_fiscal_code, is_iban, is_nir, is_ssn
from policy.detectors.patterns import Finder, Kind, together
from policy.detectors.phone_numbers import has_phone

PHONE = 0.5
NOBODY = ("noreply", "no-reply", "donotreply", "do-not-reply", "git", "mailer-daemon", "postmaster")
RESERVED = ("example.com", "example.org", "example.net", "localhost", "users.noreply.github.com")
RESERVED_ENDINGS = (
    ".test",
    ".invalid",
    ".example",
    ".local",
    ".localhost",
    ".internal",
    ".svc",
    ".png",
    ".jpg",
    ".svg",
)


def is_personal(address: str) -> bool:
    """Tell an address that may be a person's from a machine's or a document's."""
    name, _, host = address.lower().rpartition("@")
    ending = host.rpartition(".")[2]
    if name in NOBODY or host in RESERVED or host.endswith(RESERVED_ENDINGS):
        return False
    return ending.isalpha() and len(ending) > 1


def is_passport(number: str) -> bool:
    return len(digits(number)) >= 5


PERSONAL = Finder(
    (
        Kind(
            "e-mail address",
            r"\b([A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,5})",
            0.5,
            is_personal,
        ),
        Kind("payment card", r"\b(\d(?:[ -]?\d){12,18})\b", 1.0, is_card),
        Kind("bank account", r"\b([A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?)\b", 1.0, is_iban),
        Kind("social security, US", r"\b(\d{3}-\d{2}-\d{4})\b", 0.8, is_ssn),
        Kind("CPF, BR", r"\b(\d{3}\.\d{3}\.\d{3}-\d{2})\b", 1.0, is_cpf),
        Kind("DNI or NIE, ES", r"\b((?:\d{8}|[XYZ]-?\d{7})-?[A-HJ-NP-TV-Z])\b", 0.8, is_dni),
        Kind(
            "NIR, FR",
            r"\b([12] ?\d{2} ?(?:0[1-9]|1[0-2]) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2})\b",
            0.9,
            is_nir,
        ),
        Kind("codice fiscale, IT", r"\b([A-Z]{6}\d{2}[A-EHLMPR-T]\d{2}[A-Z]\d{3}[A-Z])\b", 1.0, is_fiscal_code),
        Kind("national insurance, GB", r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b", 0.6),
        Kind(
            "passport",
            r"(?i)(?:passport|reisepass|pasaporte|passeport)[^\n\d]{0,20}?\b([A-Z]{0,3}\d{5,9}[A-Z]?)\b",
            0.7,
            is_passport,
        ),
        Kind(
            "date of birth",
            r"(?i)(?:date[_ ]of[_ ]birth|birth[_ ]?date|birthday|\bdob|\bborn(?: on)?|geboren am|geburtsdatum|née? le"
            r"|nacid[oa] el|fecha de nacimiento|data de nascimento)\"?[:= ]{1,3}\"?"
            r"(?:\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{1,2}\.? \pL{3,10} \d{4}|\pL{3,10} \d{1,2}, \d{4})",
            0.6,
        ),
    )
)


def pii(reading: Reading) -> float:
    """Measure the text itself; encoded runs are not looked into."""
    if not reading.whole:
        return 1.0
    strengths = [kind.strength for kind in PERSONAL.found(reading.bytes)]
    return together(strengths + [PHONE] * has_phone(reading.bytes))
