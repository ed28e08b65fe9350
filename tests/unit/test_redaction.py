"""Secrets in what people say: which are hidden, and what stays as it is."""

from __future__ import annotations

import time

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
        (f"ours: msk_{'0a1b2c' * 2}_{'9f' * 32}", f"msk_{'0a1b2c' * 2}_{'9f' * 32}"),
        (f"a browser's: msk_{'0a1b2c' * 2}.{'7e' * 8}_{'9f' * 32}", "9f" * 32),
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
        (f"-----BEGIN OPENSSH PRIVATE KEY-----\\n{LETTERS}", LETTERS),
        (f"PuTTY-User-Key-File-3: ssh-rsa\nPrivate-Lines: 1\n{LETTERS}\nPrivate-MAC: 0", LETTERS),
        (f"https://discord.com/api/webhooks/101234567890/{LETTERS}", LETTERS),
        (f"https://x.blob.example/a?sp=r&sig={LETTERS}", LETTERS),
        (f"https://api.telegram.org/bot8123456789:AA{LETTERS[:33]}/getMe", LETTERS[:33]),
        (f"Cookie: theme=dark; JSESSIONID={LETTERS}", LETTERS),
        (f"//npm.example.com/:_auth={LETTERS}", LETTERS),
        (f"Account SID AC{'0a' * 16} and Auth Token {'9f3436' * 5}a1", "9f3436"),
        ("HEROKU_API_KEY=ac193fe0-4072-7553-9800-3680e7e3b351", "3680e7e3b351"),
        ("mysql://root:p@ss/w0rd!@10.0.0.5:3306/shop", "w0rd!"),
        ("curl -ubob:S3cret77 https://x.example", "S3cret77"),
        ("docker login -u bob -p hunter2hunter registry.example", "hunter2hunter"),
        ("sshpass -p 'Rosebud' ssh root@host", "Rosebud"),
        ("mysql -u root -pSwordfish db", "Swordfish"),
        ("redis-cli -a Gr33nTea ping", "Gr33nTea"),
        ("machine git.example login bob password swordfish", "swordfish"),
        ("CREATE USER app IDENTIFIED BY 'thistle';", "thistle"),
        ("echo thistle77 | sudo -S apt update", "thistle77"),
        ("PGPASSWORD=orchard psql -h db", "orchard"),
        ("kubectl create secret generic db --from-literal=password=MapleLeaf", "MapleLeaf"),
        ("db:\n  Password: swordfish\n  host: localhost", "swordfish"),
        ('[db]\npassword = "tulips"\nport = 5432', "tulips"),
        ('"passwort": "veilchen"', "veilchen"),
        ('<add key="DbPassword" value="Lilac-77" />', "Lilac-77"),
        ("- name: POSTGRES_PASSWORD\n  value: thistle", "thistle"),
        ("Server=db;User ID=sa;Password=thistle;Encrypt=true", "thistle"),
        ("the network is BlueHouse, password falcon99", "falcon99"),
        ("\u5bc6\u7801 zwQ9VnWpWsc \u5feb\u767b\u4e00\u4e0b", "zwQ9VnWpWsc"),
        ("wifi\u5bc6\u7801\u662f 88888888", "88888888"),
        ("pw f\u00fcrs wlan: Moorf0hB4Qxf", "Moorf0hB4Qxf"),
        ("la pass del wifi es brisaHFUthQn", "brisaHFUthQn"),
        ("anna / Kirsche!12 is the login, pw Kirsche!12", "Kirsche!12"),
        ("the PIN of my card is 7711", "7711"),
        ("Meine EC-Karten-PIN lautet 4417", "4417"),
        ("\u9a8c\u8bc1\u7801\u662f 553812", "553812"),
        ("Visa 4012 8888 8888 1881 exp 04/27 cvv 737", "737"),
        ("amex is 378282246310005, code on the front 4827", "4827"),
        ("my visa is 4222 2222 2222 2", "4222 2222 2222 2"),
        (f"Recovery phrase: {'army van defense carry ' * 3}", "army van"),
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
        "my password manager is great",
        "docker run -u 1000:1000 alpine",
        "curl -u https://example.com/users:all",
        "ssh -p 2222 deploy@host && mkdir -p src/main2",
        "token = get_token(user_id=42)",
        "Password: Swordfish is a film of 2001",
        "login form: password field",
        "password: required",
        "pass: 1200, fail: 3",
        "public_key=AAAAB3NzaC1yc2EAAAADAQABAAABgQC7",
        "cache_key=users:42:profile:v2:2024abcdef",
        "secretName: my-tls-cert\nsecret: true\nmax_tokens: 4096",
        "The pin on the map is at 4821 Main St",
        "HTTP code: 404, exit code: 1370",
        "the door code was changed",
        "seed phrases should be written on paper and stored in a safe place away from other people and fire",
        "The CVV is the three digits on the back",
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


def test_values_are_secrets_by_the_name_of_their_field_too_and_so_are_names_and_numbers() -> None:
    info = {
        "metadata": {"password": "swordfish", "pin": 4821, "n": int(CARD), "id": CARD, f"key {CARD}": 1, "year": 26}
    }
    message = ScheduleMessageItem(user_id="u", mem_cube_id="c", label="add", content="x", info=info, session_id=CARD)

    plain, dropped = redacted_message(message, "mask"), redacted_message(message, "drop")

    masked = {"password": "[password]", "pin": "[code]", "n": "[card number]", "id": "[card number]"}
    assert plain.info == {"metadata": masked | {"key [card number]": 1, "year": 26}}
    assert dropped.info == {"metadata": {"password": "", "pin": "", "n": "", "id": "", "year": 26}}
    assert plain.session_id == CARD, "a number is how programs count"


@pytest.mark.parametrize("text", ["://a:", "passw0rd_", "Cookie: a=b;", "docker login ", "a b c password: x\n", "4"])
def test_a_long_text_takes_no_longer_by_its_form(text: str) -> None:
    began = time.perf_counter()
    redacted(text * (40_000 // len(text)))

    assert time.perf_counter() - began < 5
