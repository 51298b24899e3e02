"""Telephone numbers: found by shape, believed when the numbering plans that phonenumbers carries know them."""

import phonenumbers
import re2

from policy.detectors.patterns import either

TRIED = 64
"""Candidates of one text that are looked up. With more of them one is taken to be genuine."""

REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "BR", "NL", "IN")
"""Where a number without country code, but beside a word for telephone, is looked up."""

INTERNATIONAL = re2.compile(rb"(?:^|[^0-9A-Za-z+])(\+[1-9](?:[ ().\x2f-]{0,2}\d){7,14})(?:[^0-9A-Za-z]|$)")
AMERICAN = re2.compile(
    rb"(?:^|[^0-9A-Za-z.-])(\(?[2-9]\d\d\)?[ .-]{1,2}[2-9]\d\d[ .-]\d{4})(?:[^0-9A-Za-z.-]|[.](?:\s|$)|$)"
)
WORDS = either(
    "tel", "telephone", "phone", "mobile", "cell", "whatsapp", "fax", "sms", "call(?: me| us| her| him)?",
    r"telefon\w{0,4}", "handy", "rufnummer", "t[eé]l[eé]phone", "portable", "tel[eé]fono", "m[oó]vil", "celular",
    r"llama\w{0,3}", "cellulare", "telefoonnummer",
)  # fmt: skip
IS = r"(?: (?:number|no|is|at|on|under|al|au|unter))?"
NAMED = re2.compile(
    rf"(?i)\b{WORDS}{IS}[^\n\d+]{{0,6}}(\(?\d(?:[ ().\x2f-]{{0,2}}\d){{6,13}})(?:[^0-9A-Za-z]|$)".encode()
)


def has_phone(text: bytes) -> bool:
    """Tell whether the text has a telephone number."""
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
