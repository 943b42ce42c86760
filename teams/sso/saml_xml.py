"""What a SAML response may contain. Checked before xmlsec acts on it.

xmlsec does what a document asks for before it looks at a signature: it fetches what a reference names, runs the listed
transforms, and decrypts with any algorithm. Until the signature holds, that document is a stranger's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

_DSIG: Final = "{http://www.w3.org/2000/09/xmldsig#}"
_ENC: Final = "{http://www.w3.org/2001/04/xmlenc#}"
_ENC11: Final = "http://www.w3.org/2009/xmlenc11#"
# What signing an assertion needs. XSLT and XPath would be programs of a stranger.
TRANSFORMS: Final = frozenset(
    {
        "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
        "http://www.w3.org/2001/10/xml-exc-c14n#",
        "http://www.w3.org/2001/10/xml-exc-c14n#WithComments",
    }
)
# Without RSA 1.5, whose padding tells an attacker the key, one answer at a time (Bleichenbacher).
KEY_TRANSPORTS: Final = frozenset({"http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p", f"{_ENC11}rsa-oaep"})
CIPHERS: Final = frozenset(
    {
        *(f"http://www.w3.org/2001/04/xmlenc#aes{bits}-cbc" for bits in (128, 192, 256)),
        *(f"{_ENC11}aes{bits}-gcm" for bits in (128, 192, 256)),
    }
)


def problem(document: Any) -> str:
    """Why a parsed response must not be read any further; empty for a harmless one."""
    return next(_problems(document), "")


def is_encrypted(document: Any) -> bool:
    return document.find(f".//{_ENC}EncryptedData") is not None


def _problems(document: Any) -> Iterator[str]:
    if any(not uri.startswith("#") for uri in _attributes(document.iter("*"), "URI")):
        yield "it refers to something outside of itself"
    for signature in document.iter(f"{_DSIG}Signature"):
        if len(list(signature.iter(f"{_DSIG}Reference"))) != 1:
            yield "a signature must be of one element"
    if not _algorithms(document, f"{_DSIG}Transform") <= TRANSFORMS:
        yield "its signature has a transform that is not allowed"
    if not _algorithms(document, f"{_ENC}EncryptedKey/{_ENC}EncryptionMethod") <= KEY_TRANSPORTS:
        yield "its key must be encrypted with RSA-OAEP"
    if not _algorithms(document, f"{_ENC}EncryptedData/{_ENC}EncryptionMethod") <= CIPHERS:
        yield "it must be encrypted with AES"


def _algorithms(document: Any, path: str) -> set[str]:
    """What the elements at a path name; an empty text for one that names nothing."""
    return {element.get("Algorithm", "") for element in document.iterfind(f".//{path}")}


def _attributes(elements: Iterable[Any], name: str) -> Iterator[str]:
    return (element.get(name) for element in elements if element.get(name) is not None)
