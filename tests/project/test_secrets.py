"""What looks like a secret, in a command line or the message of an exception, is in no file that people hand on."""

from __future__ import annotations

import time

import pytest

from phasescope._secrets import without_secrets, words_without_secrets

SECRET = "s3cretW0rdThatNobodySees"

TEXTS = [
    f"cannot reach http://me:{SECRET}@host:4318/x?y=1",
    f"cannot reach https://{SECRET}@github.com/me/mine.git",
    f"postgresql+psycopg://me:{SECRET}/with@signs@db/train",
    f"proxy http://me:{SECRET}?#x@proxy:3128 refused",
    f"401 for https://api.example.com/v1?run=7&access_token={SECRET}&x=1",
    f"403 for https://b.s3.amazonaws.com/x?X-Amz-Date=1&X-Amz-Signature={SECRET}",
    f"Authorization: Bearer {SECRET}",
    f"headers={{'Authorization': 'Basic {SECRET}=='}}",
    f'{{"api_key": "{SECRET} and more", "n": 1}}',
    f"wandb.login(key=1, password='{SECRET}')",
    f"HF_TOKEN={SECRET} python train.py",
    f"x-api-key={SECRET},y=2",
    f"token='{SECRET}",
    f"bearer {SECRET} is not valid",
    f"hf_{SECRET}",
    f"Incorrect API key provided: sk-proj-{SECRET}",
    f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
    f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_secret_is_hidden_and_what_is_around_it_stays(text: str) -> None:
    shown = without_secrets(text)
    assert SECRET not in shown
    assert "***" in shown
    assert without_secrets(shown) == shown
    assert "with@" not in shown
    assert "and more" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.65 GiB, 1.06 GiB free",
        "num_batched_tokens (8192) is larger than max_model_len=4096; pad_token=<pad>, eos_token_id=2",
        "Token indices sequence length is longer than 512; unexpected token: <, key: 'state', cookie: 1",
        "KeyError: 'model.layers.0.self_attn.k_proj.weight' with num_key_value_heads=8, key_dim=64, sort_key=x",
        "https://github.com/pytorch/pytorch/issues/37250#issuecomment-1 ssh://git@github.com/me/mine.git",
        "http://127.0.0.1:4318/v1/metrics?run=7 pip install git+https://host:443/mine@main",
        "basic training of a basic transformer; bearer of news",
        "me@node-7:/data/x: No such file",
        "",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["train.py", "--token", SECRET, "--lr", "0.1"], ["train.py", "--token", "***", "--lr", "0.1"]),
        (["train.py", f"--wandb-key={SECRET}"], ["train.py", "--wandb-key=***"]),
        (["train.py", "--hf-token", "--lr", "0.1"], ["train.py", "--hf-token", "--lr", "0.1"]),
        (["train.py", f"+logger.api_key={SECRET}"], ["train.py", "+logger.api_key=***"]),
        (["python", "-c", f"login(password='{SECRET}'); go()"], ["python", "-c", "login(password='***'); go()"]),
        (
            ["train.py", "--tokenizer", "gpt2", "--max-tokens", "7"],
            ["train.py", "--tokenizer", "gpt2", "--max-tokens", "7"],
        ),
        (["train.py", "--pad-token=<pad>", "--key", "name"], ["train.py", "--pad-token=<pad>", "--key", "name"]),
    ],
)
def test_a_command_line_has_no_secret(words: list[str], shown: list[str]) -> None:
    assert words_without_secrets(words) == shown


@pytest.mark.parametrize(
    "piece", ["a", "-", "a=", "://", "://a:", "eyJ", "@", "'", '="', "-----BEGIN PRIVATE KEY-----", "?sig="]
)
def test_no_text_takes_long(piece: str) -> None:
    began = time.process_time()
    without_secrets((piece * 4000)[:4000])
    assert time.process_time() - began < 1
