"""Check digits: validation of card, bank and identity numbers."""

from itertools import cycle

IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "CH": 21,
    "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18,
    "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23,
    "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27,
    "MD": 24, "ME": 22, "MK": 19, "MT": 31, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29,
    "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TN": 24, "TR": 26, "UA": 29, "VG": 24,
}  # fmt: skip

CARD_ISSUERS = (
    (range(4, 5), (13, 16, 19)),
    (range(51, 56), (16,)),
    (range(2221, 2721), (16,)),
    (range(34, 35), (15,)),
    (range(37, 38), (15,)),
    (range(36, 37), (14,)),
    (range(38, 40), (14, 16)),
    (range(300, 306), (14,)),
    (range(3528, 3590), (16,)),
    (range(6011, 6012), (16, 19)),
    (range(644, 660), (16, 19)),
    (range(62, 63), (16, 17, 18, 19)),
    (range(65, 66), (16, 19)),
)
"""First digits of the large networks, and how many digits their numbers have."""

DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
FISCAL_ODD = {
    **dict(zip("0123456789", (1, 0, 5, 7, 9, 13, 15, 17, 19, 21), strict=True)),
    **dict(
        zip(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23),
            strict=True,
        )
    ),
}


def digits(text: str) -> str:
    return "".join(c for c in text if c in "0123456789")


def luhn(number: str) -> bool:
    """Return whether the last digit is the Luhn check digit of the others."""
    total = 0
    for digit, double in zip(reversed(number), cycle((False, True)), strict=False):
        value = int(digit) * (2 if double else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_card(text: str) -> bool:
    """Return whether it is a payment card's number: issuer, length and check digit."""
    number = digits(text)
    issued = any(
        int(number[: len(str(first.start))]) in first and len(number) in lengths for first, lengths in CARD_ISSUERS
    )
    return issued and len(set(number)) > 1 and luhn(number)


def is_iban(text: str) -> bool:
    """Return whether it is an IBAN: its country's length, and 1 modulo 97."""
    number = "".join(text.split())
    if IBAN_LENGTHS.get(number[:2]) != len(number):
        return False
    return int("".join(str(int(c, 36)) for c in number[4:] + number[:4])) % 97 == 1


def is_ssn(text: str) -> bool:
    """Return whether the United States could have issued it as a social security number."""
    area, group, serial = text.split("-")
    return area not in {"000", "666"} and area < "900" and group != "00" and serial != "0000"


def is_cpf(text: str) -> bool:
    """Return whether it is a Brazilian CPF: two check digits."""
    number = digits(text)
    if len(set(number)) == 1:
        return False
    for length in (9, 10):
        total = sum(int(d) * weight for d, weight in zip(number, range(length + 1, 1, -1), strict=False))
        if (total * 10 % 11) % 10 != int(number[length]):
            return False
    return True


def is_dni(text: str) -> bool:
    """Return whether it is a Spanish DNI or NIE: a letter by the number modulo 23."""
    number = text.replace("-", "").upper()
    number = {"X": "0", "Y": "1", "Z": "2"}.get(number[0], number[0]) + number[1:]
    return DNI_LETTERS[int(number[:-1]) % 23] == number[-1]


def is_nir(text: str) -> bool:
    """Return whether it is a French NIR: a key of 97 minus the number modulo 97."""
    number = text.replace(" ", "").replace("2A", "19").replace("2B", "18")
    return 97 - int(number[:13]) % 97 == int(number[13:])


def is_fiscal_code(text: str) -> bool:
    """Return whether it is an Italian codice fiscale: a letter by two tables."""
    code = text.upper()
    total = sum(FISCAL_ODD[c] for c in code[0:15:2]) + sum(int(c) if c.isdigit() else ord(c) - 65 for c in code[1:15:2])
    return chr(65 + total % 26) == code[15]
