"""No secret in the effective configuration, nor in any message."""

from __future__ import annotations

from pathlib import Path

import pytest

from streaming_app.config import effective_yaml, load
from streaming_app.config.masking import MASK, is_secret_name, mask, mask_text, secret_values
from streaming_app.errors import ConfigError

CONF = str(Path(__file__).resolve().parents[2] / "conf/local.yaml")
SECRET = "hunter2" * 2


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "db_password",
        "spark.ssl.keyPassword",
        "fs.s3a.secret.key",
        "fs.s3a.access.key",
        "api_token",
        "AWS_SECRET_ACCESS_KEY",
        "apiKey",
        "client-secret",
        "sas.token",
        "credentials",
        "spark.authenticate.secret",
        "passphrase",
        "PGPASSWORD_PASSWORD",
    ],
)
def test_a_key_that_names_a_secret_is_known(key: str) -> None:
    assert is_secret_name(key)


@pytest.mark.parametrize(
    "key",
    [
        "stream",
        "sse_kms_key_id",
        "monkey",
        "fs.s3a.aws.credentials.provider",
        "partition_keys_count",
        "trigger",
        "tokenizer",
        "",
    ],
)
def test_a_key_that_only_resembles_one_is_not(key: str) -> None:
    assert not is_secret_name(key)


@pytest.mark.parametrize(
    "text",
    [
        f"https://user:{SECRET}@host/path",
        f"https://{SECRET}@host",
        f"https://user:{SECRET}/with@at@host/path",
        f"see http://a:b@host and https://user:{SECRET}@other",
        f"-Dssl.password={SECRET} -Dx=1",
        f"token: '{SECRET} {SECRET}'",
        f"https://bucket/key?X-Amz-Signature={SECRET}&x=1",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_a_secret_inside_a_text_is_masked(text: str) -> None:
    assert SECRET not in mask_text(text)
    assert MASK in mask_text(text)


def test_an_aws_access_key_is_masked_wherever_it_stands() -> None:
    assert mask_text("key AKIAIOSFODNN7EXAMPLE.") == f"key {MASK}."


@pytest.mark.parametrize(
    "text", ["https://host:8080/path", "s3://bucket/a@b", "local[2,4]", "a plain text", "user@example.com"]
)
def test_a_text_without_secrets_stays_as_it_is(text: str) -> None:
    assert mask_text(text) == text


def test_masking_reaches_every_depth_and_leaves_what_is_empty() -> None:
    document = {"a": [{"secret": SECRET, "token": "", "keys": [1, SECRET]}], "password": 12345, "n": 5}
    assert mask(document) == {"a": [{"secret": MASK, "token": "", "keys": [MASK, MASK]}], "password": MASK, "n": 5}


def test_headers_are_secrets_whatever_they_are_called() -> None:
    document = {"metrics": {"otlp": {"headers": {"x-team": SECRET}}}}
    assert mask(document) == {"metrics": {"otlp": {"headers": {"x-team": MASK}}}}
    assert list(secret_values(document)) == [SECRET]


def test_the_effective_configuration_shows_no_secret() -> None:
    loaded = load(
        CONF,
        [
            f"spark.conf.spark.hadoop.fs.s3a.secret.key={SECRET}",
            "spark.app_name=x-${DB_PASSWORD}-y",
            "sources.kinesis.endpoint_url=http://me:pw@localhost:4566",
        ],
        {"DB_PASSWORD": "swordfish"},
    )
    text = effective_yaml(loaded)
    assert SECRET not in text
    assert "swordfish" not in text
    assert "me:pw" not in text
    assert f"app_name: x-{MASK}-y" in text
    assert "swordfish" not in repr(loaded)


def test_no_message_repeats_a_secret() -> None:
    with pytest.raises(ConfigError) as caught:
        load(
            CONF,
            [
                f"spark.conf.my.password=[{SECRET}]",
                "service.trigger=${API_TOKEN}",
                "logging.level=${API_TOKEN}",
                "sources.kinesis.max_tasks=AKIAIOSFODNN7EXAMPLE",
                f"lake.root=hdfs://user:{SECRET}@x",
            ],
            {"API_TOKEN": "swordfish"},
        )
    assert len(caught.value.problems) == 5
    for secret in (SECRET, "swordfish", "AKIAIOSFODNN7EXAMPLE"):
        assert secret not in str(caught.value)
