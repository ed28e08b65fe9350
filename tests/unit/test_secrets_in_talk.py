"""Secrets as people tell them: in sentences of five languages, in tables and in code, and in two turns."""

from __future__ import annotations

import time
from typing import Any

import pytest

from memsched.redaction import Secrets, redacted, redacted_fields

LETTERS = "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5"
TOKEN, CARD = f"ghp_{LETTERS}", "4111" + "1" * 12
OF_A_STUDENT = "4532015112830366"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("hunter2!Q is the password for the router", "hunter2!Q"),
        ("Use Rosebud42 as my password", "Rosebud42"),
        ("password -> Rosebud42", "Rosebud42"),
        ("the password was changed to Rosebud42", "Rosebud42"),
        ("the password you need is Rosebud42", "Rosebud42"),
        ("password (wifi): Kx93mPq7", "Kx93mPq7"),
        ("my new passphrase is correct horse battery staple", "horse"),
        ("my password is swordfish", "swordfish"),
        ("The wifi password is sunflower, I think", "sunflower"),
        ('my password is "four blue birds sing"', "blue"),
        ("login bob / Rosebud42, that is user and password", "Rosebud42"),
        ("user bob, pass hunter22x", "hunter22x"),
        ("mein Passwort lautet Schmetterling", "Schmetterling"),
        ("Das Passwort wurde auf Rosebud42 ge\u00e4ndert", "Rosebud42"),
        ("Rosebud42 ist mein Passwort", "Rosebud42"),
        ("WLAN-Schl\u00fcssel: Kx93mPq7", "Kx93mPq7"),
        ("La contrase\u00f1a es girasol.", "girasol"),
        ("la clave wifi es Kx93mPq7", "Kx93mPq7"),
        ("mon mot de passe est tournesol", "tournesol"),
        ("j'ai chang\u00e9 mon mot de passe en Rosebud42", "Rosebud42"),
        ("la cl\u00e9 du wifi : Kx93mPq7", "Kx93mPq7"),
        ("Rosebud42\u662f\u6211\u7684\u5bc6\u7801", "Rosebud42"),
        ("\u5bc6\u7801\u8bbe\u7f6e\u4e3aRosebud42", "Rosebud42"),
        ("\u53e3\u4ee4\u662f swordfish", "swordfish"),
        ("| user | password |\n|---|---|\n| bob | swordfish |", "swordfish"),
        ("Note this: | user | password |\n|---|---|\n| bob | Bluebird9x |", "Bluebird9x"),
        ("network key is 8372910465", "8372910465"),
        ("4821 is my PIN", "4821"),
        ("I changed my PIN to 7731", "7731"),
        ("mTAN: 829104", "829104"),
        ("the code from the SMS is 123456", "123456"),
        ("my code is 123456 (it's the 2FA one)", "123456"),
        ("123456 is your verification code.", "123456"),
        ("mein Einmalcode ist 482913", "482913"),
        ("\u52a8\u6001\u7801\uff1a482913", "482913"),
        ("recovery codes: 8f3a-92bd, 77c1-03ef", "77c1"),
        ("code de r\u00e9cup\u00e9ration : 8f3a9-2bd41", "8f3a9"),
        ("safe combination 12-34-56", "12-34-56"),
        ("my card is 4111.1111.1111.1111", "1111"),
        ("41 11 11 11 11 11 11 11 (visa)", "11 11"),
        ("".join(chr(0xFEE0 + ord(each)) for each in CARD), chr(0xFF11)),
        (f"card{CARD}", CARD),
        (f'x"+{TOKEN}', TOKEN),
        (f"GH_TOKEN_{TOKEN}", TOKEN),
        (f"%22{TOKEN}%22", TOKEN),
        ("%22password%22%3A%22Rosebud42%22", "Rosebud42"),
        ('os.environ["DB_PASSWORD"] = "Rosebud42"', "Rosebud42"),
        ('set_password("Rosebud42")', "Rosebud42"),
    ],
)
def test_a_told_secret_is_hidden(text: str, hidden: str) -> None:
    plain = redacted(text)

    assert hidden not in plain
    assert redacted(plain) == plain


@pytest.mark.parametrize(
    "text",
    [
        f"My student id is {OF_A_STUDENT}",
        f"Kundennummer: {OF_A_STUDENT}",
        f"\u5b66\u53f7\u662f{OF_A_STUDENT}",
        "http://localhost:8080@x",
        "my password was leaked",
        "my password is safe with me",
        "the password is generally sent by post",
        "the password must contain at least 8 characters",
        "I changed my password on Monday to be safe",
        "I changed my password in 2023",
        "1Password is my password manager",
        "123456 is the most common password",
        "I forgot my PIN",
        "the key is to listen",
        "the secret to a good soup is time",
        "the code is broken",
        "my code is 123456 lines",
        "2FA code never arrives",
        "the recovery took 12 weeks",
        "recovery codes are printed on paper",
        "Das Passwort ist falsch.",
        "mein Passwort ist abgelaufen",
        "la clave es escuchar",
        "mi contrase\u00f1a es segura",
        "le mot de passe est expir\u00e9",
        "\u5bc6\u7801\u662f\u9519\u8bef\u7684",
        "| field | type |\n|---|---|\n| password | string |",
        "| user | password |\n|---|---|\n| bob | required |",
        "100%25 of it, and a%20b",
        "user.set_password(new_password)",
    ],
)
def test_a_sentence_about_one_stays(text: str) -> None:
    assert redacted(text) == text


def in_parts(*texts: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": each} for each in texts]}]


@pytest.mark.parametrize(
    ("given", "hidden"),
    [
        (in_parts("my password is", "hunter2"), "hunter2"),
        (["What is your password?", "hunter2!Q"], "hunter2"),
        (["What is your PIN?", "4821"], "4821"),
        ([*in_parts("Hello", "mein Passwort lautet:"), {"content": "Sonne77"}], "Sonne77"),
    ],
)
@pytest.mark.parametrize("how", ["mask", "drop"])
def test_a_secret_in_the_next_part_or_turn_is_hidden(given: Any, hidden: str, how: Secrets) -> None:
    assert hidden not in str(redacted_fields(given, how))
    assert redacted_fields(given, "keep") is given


@pytest.mark.parametrize(
    "given",
    [
        ["What is your password?", "why do you ask?"],
        ["What is your password manager?", "Bitwarden7"],
        ["the key is", "to listen"],
        in_parts("my password is", "leaked"),
        ["I forgot my PIN", "4821 Main Street"],
    ],
)
def test_a_turn_that_tells_none_stays(given: Any) -> None:
    assert redacted_fields(given, "mask") is given


@pytest.mark.parametrize(
    "text", ["eyJ", "is my password ", "recovery code: aaaa1, ", "%25", "| password ", "4111 card "]
)
def test_no_form_takes_long(text: str) -> None:
    began = time.process_time()
    redacted(text * (20_000 // len(text)))

    assert time.process_time() - began < 3
