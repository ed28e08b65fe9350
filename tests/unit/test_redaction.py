"""Secrets in what people say: which are hidden, and what stays as it is."""

from __future__ import annotations

import pytest

from memsched.messages import ScheduleMessageItem
from memsched.redaction import redact, redacted, redacted_message

LETTERS = "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5bC7d"
CARD = "4242" * 4


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (f"the key: sk-proj-{LETTERS}", f"sk-proj-{LETTERS}"),
        (f"\u7528\u8fd9\u4e2a\u4ee4\u724c\uff1aghp_{LETTERS[:36]}", f"ghp_{LETTERS[:36]}"),
        (f"AKIA{'ABCD2345' * 2} and the secret is {LETTERS[:38]}/x", f"{LETTERS[:38]}/x"),
        (f"HF token hf_{LETTERS[:34]}", f"hf_{LETTERS[:34]}"),
        ("postgres://app:s3cr-Et@db.example.org/x", "s3cr-Et"),
        ("redis://:pw9-Xyz@cache:6379", "pw9-Xyz"),
        ("My password is Tr0ub4dor&3.", "Tr0ub4dor&3"),
        ("Das Passwort lautet Regen#Bogen7", "Regen#Bogen7"),
        ("La contrase\u00f1a es gato.Verde99", "gato.Verde99"),
        ("\u5bc6\u7801\u662fTianKong#88\u3002", "TianKong#88"),
        (f"Visa {CARD} please", CARD),
        ("Amex 3782 822463 10005", "3782 822463 10005"),
        ("\u5361\u53f75105-1051-0510-5100\u3002", "5105-1051-0510-5100"),
        ('{"user": "bob", "password": "S3cr3t!pw9"}', "S3cr3t!pw9"),
        ('{"dbPassword": "S3cr3t!pw9"}', "S3cr3t!pw9"),
        (f'{{"accessToken": "{LETTERS[:20]}"}}', LETTERS[:20]),
        (f'"clientSecret" => "{LETTERS[:20]}"', LETTERS[:20]),
        ("**Password:** S3cr3t!pw9", "S3cr3t!pw9"),
        ("| password | S3cr3t!pw9 |", "S3cr3t!pw9"),
        ("<password>S3cr3t!pw9</password>", "S3cr3t!pw9"),
        ("PGPASSWORD=hunter22x psql", "hunter22x"),
        ("Mein Bankingpasswort: Katze99haus", "Katze99haus"),
        ("Authorization: Basic Ym9iOnMzY3IzdA==", "Ym9iOnMzY3IzdA=="),
        ("curl -u admin:Zw9!hunter https://x.example/a", "Zw9!hunter"),
        ("mongo --username bob --password hunter", "hunter"),
        (f"{CARD} 12/27 123", CARD),
        ("4242 4242 4242 4242 12 27 123", "4242 4242 4242 4242"),
        (f"-----BEGIN EC PRIVATE KEY-----\n{LETTERS}\n-----END EC PRIVATE KEY-----", LETTERS),
    ],
)
def test_a_secret_is_hidden_and_the_rest_is_kept(text: str, hidden: str) -> None:
    plain = redacted(text)

    assert hidden not in plain
    assert "[" in plain
    assert redacted(plain) == plain
    assert redacted(text, "keep") == text
    assert redacted(text, "drop") == ""


@pytest.mark.parametrize(
    "text",
    [
        "commit 9834876dcfb05cb167a5c24953eba58c4ac89b1a",
        "user 6fa459ea-ee8a-3ca4-894e-db77e160355e",
        "the key is 6fa459ea-ee8a-3ca4-894e-db77e160355e",
        f"Order {CARD} is late",
        f"\u8ba2\u5355\u53f7{CARD}",
        "4242 4242 4242 4241",
        "IBAN DE89 3704 0044 0532 0130 00",
        "Call +49 30 901820 or 0171 5550 123",
        "ISBN 978-3-16-148410-0",
        "The password is written on the note.",
        "my password is too short",
        "Use https://host.example:8080/path?a=b@c and git@example.org:a/b.git",
        "postgres://user:password@host/db",
        "-----BEGIN RSA PRIVATE KEY----- is how it begins",
        "sk-learn-is-a-nice-library-of-course",
        "sk-learn-intro-2024-course-notes-v2",
        "pwd=/srv/app2",
        "password = os.environ['DB_PASSWORD2']",
        "const password = document.getElementById('pw1').value",
        "the key is reports/2024/q3/summary_final.pdf",
        "The key to success is 10000-hours-of-practice",
        "The token is refreshed every 15 minutes",
        "key results for Q3-2026-final-version",
        "Donaudampfschifffahrtsgesellschaftskapit\u00e4n",
    ],
)
def test_what_only_looks_like_one_stays(text: str) -> None:
    assert redacted(text) == text


def test_all_texts_of_a_message_are_redacted_and_its_ids_are_not() -> None:
    said = [{"role": "user", "content": f"pay with {CARD}"}, "nothing", {"content": [{"type": "text", "text": CARD}]}]
    message = ScheduleMessageItem(
        user_id="u",
        mem_cube_id="c",
        label="add",
        content=CARD,
        info={"memory_id": CARD, "a": [CARD]},
        chat_history=said,
    )

    plain = redacted_message(message, "mask")

    assert plain.content == "[card number]"
    assert plain.info == {"memory_id": CARD, "a": ["[card number]"]}
    assert plain.chat_history[0]["content"] == "pay with [card number]"  # type: ignore[index]
    assert CARD not in str(plain.chat_history)
    assert message.content == CARD
    redact(message, "drop")
    assert message.content == ""
    assert redacted_message(plain, "mask") is plain
