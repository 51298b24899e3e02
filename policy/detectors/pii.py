"""Detector `signals.pii`: personal data in the text: e-mail, telephone, card, bank and identity numbers.

It uses shapes, check digits and numbering plans. Names, postal addresses and descriptions are not found.
"""

import phonenumbers
import re2

from policy.detectors.argument_text import Reading
from policy.detectors.check_digits import digits, is_card, is_cpf, is_dni, is_fiscal_code, is_iban, is_nir, is_ssn
from policy.detectors.patterns import Finder, Pattern, any_of, combine

TRIED = 64
"""Candidates of one text that are looked up. With more of them one is taken to be genuine."""

REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "BR", "NL", "IN")
"""Where a number without country code, but beside a word for telephone, is looked up."""

INTERNATIONAL = re2.compile(rb"(?:^|[^0-9A-Za-z+])(\+[1-9](?:[ ().\x2f-]{0,2}\d){7,14})(?:[^0-9A-Za-z]|$)")
AMERICAN = re2.compile(
    rb"(?:^|[^0-9A-Za-z.-])(\(?[2-9]\d\d\)?[ .-]{1,2}[2-9]\d\d[ .-]\d{4})(?:[^0-9A-Za-z.-]|[.](?:\s|$)|$)"
)
WORDS = any_of(
    "tel", "telephone", "phone", "mobile", "cell", "whatsapp", "fax", "sms", "call(?: me| us| her| him)?",
    r"telefon\w{0,4}", "handy", "rufnummer", "t[eé]l[eé]phone", "portable", "tel[eé]fono", "m[oó]vil", "celular",
    r"llama\w{0,3}", "cellulare", "telefoonnummer",
)  # fmt: skip
IS = r"(?: (?:number|no|is|at|on|under|al|au|unter))?"
NAMED = re2.compile(
    rf"(?i)\b{WORDS}{IS}[^\n\d+]{{0,6}}(\(?\d(?:[ ().\x2f-]{{0,2}}\d){{6,13}})(?:[^0-9A-Za-z]|$)".encode()
)


def has_phone(text: bytes) -> bool:
    """Return whether the text has a telephone number."""
    tried = 0
    for pattern, regions in ((INTERNATIONAL, (None,)), (AMERICAN, ("US",)), (NAMED, REGIONS)):
        for match in pattern.finditer(text):
            if tried == TRIED or _valid(match[1].decode(), regions):
                return True
            tried += 1
    return False


def _valid(number: str, regions: tuple[str | None, ...]) -> bool:
    for region in regions:
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(number, region)):
                return True
        except phonenumbers.NumberParseException:
            continue
    return False


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
        Pattern(
            "e-mail address",
            r"\b([A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,5})",
            0.5,
            is_personal,
        ),
        Pattern("payment card", r"\b(\d(?:[ -]?\d){12,18})\b", 1.0, is_card),
        Pattern("bank account", r"\b([A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?)\b", 1.0, is_iban),
        Pattern("social security, US", r"\b(\d{3}-\d{2}-\d{4})\b", 0.8, is_ssn),
        Pattern("CPF, BR", r"\b(\d{3}\.\d{3}\.\d{3}-\d{2})\b", 1.0, is_cpf),
        Pattern("DNI or NIE, ES", r"\b((?:\d{8}|[XYZ]-?\d{7})-?[A-HJ-NP-TV-Z])\b", 0.8, is_dni),
        Pattern(
            "NIR, FR",
            r"\b([12] ?\d{2} ?(?:0[1-9]|1[0-2]) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2})\b",
            0.9,
            is_nir,
        ),
        Pattern("codice fiscale, IT", r"\b([A-Z]{6}\d{2}[A-EHLMPR-T]\d{2}[A-Z]\d{3}[A-Z])\b", 1.0, is_fiscal_code),
        Pattern("national insurance, GB", r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b", 0.6),
        Pattern(
            "passport",
            r"(?i)(?:passport|reisepass|pasaporte|passeport)[^\n\d]{0,20}?\b([A-Z]{0,3}\d{5,9}[A-Z]?)\b",
            0.7,
            is_passport,
        ),
        Pattern(
            "date of birth",
            r"(?i)(?:date[_ ]of[_ ]birth|birth[_ ]?date|birthday|\bdob|\bborn(?: on)?|geboren am|geburtsdatum|née? le"
            r"|nacid[oa] el|fecha de nacimiento|data de nascimento)\"?[:= ]{1,3}\"?"
            r"(?:\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{1,2}\.? \pL{3,10} \d{4}|\pL{3,10} \d{1,2}, \d{4})",
            0.6,
        ),
    )
)


def pii(reading: Reading) -> float:
    """Return the detector score from 0.0 to 1.0. Encoded runs are not decoded."""
    if not reading.whole:
        return 1.0
    strengths = [kind.strength for kind in PERSONAL.find(reading.bytes)]
    return combine(strengths + [PHONE] * has_phone(reading.bytes))
