"""DPoP thumbprints and proofs against the examples of the RFCs."""

import pytest

from somagent.identity.dpop import DpopRefused, hash_text, thumbprint, verify_dpop

# RFC 7638, section 3.1.
RSA_KEY = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}
# RFC 9449, figures 1 and 4: a proof, its claims' URL and method, and the thumbprint of its key (figure 9).
PROOF = (
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJo"
    "RjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJq"
    "dGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0Ijox"
    "NTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
)
EC_KEY = {
    "kty": "EC",
    "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
    "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    "crv": "P-256",
}


def test_thumbprints_are_those_of_the_standards() -> None:
    assert thumbprint(RSA_KEY) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    assert thumbprint(EC_KEY) == "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
    # RFC 9449, figure 12: `ath` of the token of figure 11.
    assert hash_text("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU") == "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"


def test_the_proof_of_the_standard_is_read_and_refused_for_its_age_alone() -> None:
    with pytest.raises(DpopRefused, match="last 60 seconds"):
        verify_dpop(PROOF, method="POST", url="https://server.example.com:443/token?x=1", token=None)
    with pytest.raises(DpopRefused, match="method"):
        verify_dpop(PROOF, method="GET", url="https://server.example.com/token", token=None)


@pytest.mark.parametrize("text", ["", "a.b.c", "x" * 9000, PROOF[:-4] + "AAAA", "ü.ü.ü"])
def test_what_is_no_proof_is_refused(text: str) -> None:
    with pytest.raises(DpopRefused):
        verify_dpop(text, method="POST", url="https://server.example.com/token", token=None)


@pytest.mark.parametrize("key", [{}, {"kty": "oct", "k": "AA"}, {"kty": "EC", "crv": "P-256", "x": "AA"}])
def test_a_key_of_another_kind_has_no_thumbprint(key: dict[str, str]) -> None:
    with pytest.raises(DpopRefused, match="not one of"):
        thumbprint(key)
